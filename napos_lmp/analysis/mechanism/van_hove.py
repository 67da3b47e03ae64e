"""Van Hove's correlation function: how far ions are after a time, and where the others have come to stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.compiled import compiled
from napos_lmp.analysis.mechanism import mechanism_loops as loops
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement, MeanSquareDisplacementResult, Tracks
from napos_lmp.errors import AnalysisError

BIN_WIDTH = 0.1
REFILLED_WITHIN = 1.0
MOVED_BEYOND = 3.0
_DEFAULT_LAGS = 4
_FEWEST_BLOCKS = 4
_MOST_BLOCKS = 20
_MOST_SELF = 2e7
_MOST_PAIRS = 1e8
_FEWEST_ORIGINS = 40


@dataclass(frozen=True)
class VanHoveResult(Result):
    """Self and distinct part of one species at some lag times.

    Attributes
    ----------
    species
        Element.
    times
        Shape (L,): lag times in ps.
    r
        Shape (B,): centres of the bins, A.
    self_density
        Shape (L, B): 4 pi r^2 G_s(r, t) in 1/A, which integrates to 1.
    self_error
        Shape (L, B): half the 95 % interval of it; NaN where the run is too short for four independent blocks.
    distinct
        Shape (L, B): G_d(r, t) over the density of the other ions, 1 where they know nothing of the ion; NaN beyond
        half the smallest height of the box, everywhere without a box.
    distinct_error
        Shape (L, B): half the 95 % interval of it.
    msd
        Shape (L,): mean of r^2 over the displacements counted, A^2.
    non_gaussian
        Shape (L,): 3 <r^4> / (5 <r^2>^2) - 1.
    refilled
        For each lag, the mean of `distinct` within 1 A: other ions where an ion had been, over the average density.
    moved
        For each lag, the share of the ions that are then farther than 3 A from where they were, about one jump.
    blocks
        Shape (L,): independent blocks behind the errors.
    n_atoms
        Ions.
    """

    species: str
    times: Floats
    r: Floats
    self_density: Floats
    self_error: Floats
    distinct: Floats
    distinct_error: Floats
    msd: Floats
    non_gaussian: Floats
    refilled: tuple[Estimate, ...]
    moved: tuple[Estimate, ...]
    blocks: Integers
    n_atoms: int

    @property
    def bin_width(self) -> float:
        """Width of a bin, A."""
        return float(self.r[1] - self.r[0])

    def gaussian(self, lag: int) -> Floats:
        """4 pi r^2 G_s in 1/A of ions that diffuse freely and have the mean-square displacement of the lag's number."""
        variance = self.msd[lag] / 3
        return np.asarray(
            4 * math.pi * self.r**2 * np.exp(-(self.r**2) / (2 * variance)) / (2 * math.pi * variance) ** 1.5
        )

    def columns(self) -> Mapping[str, ArrayLike]:
        """Distances, then both parts and their errors at each lag time."""
        table: dict[str, ArrayLike] = {"r_A": self.r}
        for i, time in enumerate(self.times):
            table[f"self_{time:.6g}ps_1/A"] = self.self_density[i]
            table[f"self_error_{time:.6g}ps_1/A"] = self.self_error[i]
            table[f"distinct_{time:.6g}ps"] = self.distinct[i]
            table[f"distinct_error_{time:.6g}ps"] = self.distinct_error[i]
        return table

    def plot(self, ax: Any = None, part: str = "self") -> Any:
        """Draw the "self" or the "distinct" part with its error bands on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        values, errors = (
            (self.self_density, self.self_error) if part == "self" else (self.distinct, self.distinct_error)
        )
        for time, curve, error in zip(self.times, values, errors, strict=True):
            (line,) = ax.plot(self.r, curve, label=f"{time:.3g} ps")
            ax.fill_between(self.r, curve - error, curve + error, color=line.get_color(), alpha=0.25, linewidth=0)
        ax.set(xlabel="r (Å)", ylabel="4πr² G$_s$ (1/Å)" if part == "self" else "G$_d$ / density", ylim=(0, None))
        ax.legend(frameon=False)
        return ax


class VanHove:
    r"""Self and distinct part of van Hove's correlation function (L. van Hove, Phys. Rev. 95, 249 (1954)).

    .. math::
        4 \pi r^2 G_s(r, t) = \frac{1}{N} \Big\langle \sum_i \delta(r - |r_i(t) - r_i(0)|) \Big\rangle, \qquad
        4 \pi r^2 G_d(r, t) = \frac{1}{N} \Big\langle \sum_{i \ne j} \delta(r - |r_j(t) - r_i(0)|) \Big\rangle

    over many time origins. Displacements are those of the mean-square displacement: drift removed, and in fractions of
    the cell times its mean where the box varies. The distinct part takes the nearest image in boxes of any angles, and
    is divided by (N - 1) / V.

    **Errors.** Origins are cut into blocks no shorter than the lag, at most 20; the interval is Student's t of them.

    Parameters
    ----------
    source
        MDAnalysis Universe with unwrapped positions, or a :class:`MeanSquareDisplacementResult` of one.
    species
        Element to look at.
    lags
        Lag times in ps; by default four from one frame to a fifth of the run, even in their logarithm.

    Raises
    ------
    AnalysisError
        If a lag is not a positive number below the length of the run, the species is not there, or as
        :class:`MeanSquareDisplacement`.
    """

    def __init__(self, source: Any, species: str = "Na", lags: Sequence[float] | None = None) -> None:
        displacements = source
        if not isinstance(source, MeanSquareDisplacementResult):
            displacements = MeanSquareDisplacement(source).run()
        self._tracks: Tracks = displacements.tracks(species)
        self._interval = displacements.frame_interval
        self._boxed = math.isfinite(displacements.volume)
        self.species = species
        self._lags = _frames_of(lags, self._interval, displacements.n_frames)

    def run(self) -> VanHoveResult:
        """Count the distances."""
        tracks, lags = self._tracks, self._lags
        n_frames, _, n_atoms = tracks.fractions.shape
        half = float(box_heights(tracks.cell).min()) / 2 if self._boxed else 0.0
        reach = max(half, *(self._longest(lag) for lag in lags))
        n_bins = max(2, math.ceil(reach / BIN_WIDTH + 1e-9))
        r = BIN_WIDTH * (np.arange(n_bins, dtype=np.float64) + 0.5)
        selves = [self._self_part(lag, n_bins) for lag in lags]
        others = [self._distinct_part(lag, n_bins, math.floor(half / BIN_WIDTH)) for lag in lags]
        moments = np.array([moment for _, _, moment, _ in selves])
        with np.errstate(divide="ignore", invalid="ignore"):
            non_gaussian = 3 * moments[:, 1] / (5 * moments[:, 0] ** 2) - 1
        return VanHoveResult(
            species=self.species,
            times=self._interval * np.array(lags, dtype=np.float64),
            r=r,
            self_density=np.array([value for value, _, _, _ in selves]),
            self_error=np.array([error for _, error, _, _ in selves]),
            distinct=np.array([value for value, _, _ in others]),
            distinct_error=np.array([error for _, error, _ in others]),
            msd=moments[:, 0],
            non_gaussian=non_gaussian,
            refilled=tuple(refilled for _, _, refilled in others),
            moved=tuple(moved for _, _, _, moved in selves),
            blocks=np.array([_blocks(n_frames, lag) for lag in lags]),
            n_atoms=n_atoms,
        )

    def _longest(self, lag: int) -> float:
        tracks = self._tracks
        return float(compiled(loops.longest_move)(tracks.fractions, tracks.cell, lag, self._self_step(lag)))

    def _self_step(self, lag: int) -> int:
        n_frames, _, n_atoms = self._tracks.fractions.shape
        return _step(n_frames - lag, _MOST_SELF / n_atoms)

    def _self_part(self, lag: int, n_bins: int) -> tuple[Floats, Floats, Floats, Estimate]:
        """4 pi r^2 G_s, its error, the means of r^2 and r^4, and the share of the ions that have moved on."""
        fractions = self._tracks.fractions
        counts = np.zeros((max(1, _blocks(len(fractions), lag)), n_bins + 1), dtype=np.int64)
        moments = np.zeros(2)
        compiled(loops.count_self)(fractions, self._tracks.cell, lag, self._self_step(lag), BIN_WIDTH, counts, moments)
        each = counts.sum(axis=1, keepdims=True) * BIN_WIDTH
        density = counts[:, :-1].sum(axis=0) / each.sum()
        far = counts[:, round(MOVED_BEYOND / BIN_WIDTH) :].sum(axis=1)
        moved = _estimate(far.sum() / counts.sum(), far / counts.sum(axis=1), highest=1.0)
        return density, _error(counts[:, :-1] / each), moments / counts.sum(), moved

    def _distinct_part(self, lag: int, n_bins: int, n_known: int) -> tuple[Floats, Floats, Estimate]:
        """G_d over the density, its error, and its mean within 1 A."""
        fractions, cell = self._tracks.fractions, self._tracks.cell
        n_frames, _, n_atoms = fractions.shape
        value, error = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
        if n_known == 0 or n_atoms < 2:
            why = "there is no box" if n_known == 0 else "there is one ion only"
            return value, error, Estimate(math.nan, math.nan, math.nan, "", note=why)
        step = _step(n_frames - lag, _MOST_PAIRS / n_atoms**2 / len(self._lags))
        counts = np.zeros((max(1, _blocks(n_frames, lag)), n_known), dtype=np.int64)
        compiled(loops.count_distinct)(self._tracks.first, fractions, cell, lag, step, BIN_WIDTH, counts)
        used = np.bincount(np.arange(0, n_frames - lag, step) * len(counts) // (n_frames - lag), minlength=len(counts))
        edges = BIN_WIDTH * np.arange(n_known + 1)
        ideal = n_atoms * (n_atoms - 1) / abs(float(np.linalg.det(cell))) * 4 / 3 * math.pi * np.diff(edges**3)
        value[:n_known] = counts.sum(axis=0) / (used.sum() * ideal)
        error[:n_known] = _error(counts / (used[:, None] * ideal))
        near = min(n_known, round(REFILLED_WITHIN / BIN_WIDTH))
        blocks = counts[:, :near].sum(axis=1) / (used * ideal[:near].sum())
        whole = float(counts[:, :near].sum() / (used.sum() * ideal[:near].sum()))
        return value, error, _estimate(whole, blocks)


def _frames_of(lags: Sequence[float] | None, interval: float, n_frames: int) -> list[int]:
    """Lag times in frames."""
    if lags is None:
        last = max(1, n_frames // 5)
        return sorted(set(np.geomspace(1, last, _DEFAULT_LAGS).round().astype(int).tolist()))
    longest = (n_frames - 1) * interval
    for lag in lags:
        if not (math.isfinite(lag) and 0 <= lag <= longest * (1 + 1e-9)):
            raise AnalysisError(f"lag of {lag:g} ps is not from 0 to the run's length, {longest:g} ps")
    frames = sorted({round(lag / interval) for lag in lags})
    if not frames:
        raise AnalysisError("lags is empty; it must name at least one lag time in ps")
    return frames


def _step(n_origins: int, most: float) -> int:
    """Every how many frames an origin is taken, so that there are about `most` of them, but not too few."""
    return max(1, n_origins // max(_FEWEST_ORIGINS, int(most)))


def _blocks(n_frames: int, lag: int) -> int:
    """Number of blocks of origins, none shorter than the lag; 0 where they are too few to give an error."""
    found = min(_MOST_BLOCKS, (n_frames - lag) // max(1, lag), (n_frames - lag) // 2)
    return found if found >= _FEWEST_BLOCKS else 0


def _error(blocks: Floats) -> Floats:
    """Half the 95 % interval of the mean of blocks, shape (blocks, bins)."""
    if len(blocks) < _FEWEST_BLOCKS:
        return np.full(blocks.shape[1], np.nan)
    from scipy.special import stdtrit

    spread = blocks.std(axis=0, ddof=1) / math.sqrt(len(blocks))
    return np.asarray(float(stdtrit(len(blocks) - 1, 0.975)) * spread)


def _estimate(value: float, blocks: Floats, highest: float = math.inf) -> Estimate:
    half = float(_error(blocks[:, None])[0])
    if not math.isfinite(half) or half == 0:
        note = "the run is too short for an interval" if not math.isfinite(half) else "the same in all blocks"
        return Estimate(value, math.nan, math.nan, "", note=note)
    return Estimate(value, max(0.0, value - half), min(highest, value + half), "")
