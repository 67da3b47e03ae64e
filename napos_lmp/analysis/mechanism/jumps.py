"""Jumps of ions between cages: how often, how far, how many of them come back, and the diffusion that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.jackknife import (
    FEWEST_GROUPS,
    count_interval,
    jackknife_estimate,
    ratio,
    share_estimate,
)
from napos_lmp.analysis.mechanism.cages import Cages, find_cages
from napos_lmp.analysis.transport.diffusion import A2_PER_PS_IN_CM2_PER_S
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement, MeanSquareDisplacementResult
from napos_lmp.errors import AnalysisError

THRESHOLD = 1.75
"""Distance from the centre of its cage in A at which an ion has left it: half the first Na-Na distance of glasses."""

SETTLING_TIME = 1.0
"""Time in ps that an ion has to stay away, two or three periods of its vibration; sooner returns are no jumps."""

LARGEST_EXPONENT = 1.0
LARGEST_WANDER = 0.6
_NARROWER, _WIDER = 0.8, 1.25
_FEWEST_JUMPS = _FEWEST_PAIRS = 20
_FEW_COUNTS = 10
_SHORTEST_RESIDENCE = 2.0
_NO_JUMP = "no ion jumped"
_NO_PAIR = "no ion jumped twice"


@dataclass(frozen=True)
class JumpResult(Result):
    """Jumps of one species, in the order of the ions and of time; intervals are those of the ions, unless noted.

    Attributes
    ----------
    species
        Element.
    ion
        Shape (n,): number of the ion among those of its species.
    atom
        Shape (n,): its number in the Universe.
    frame
        Shape (n,): number in the trajectory of the first frame in the new cage.
    origins, destinations
        Shape (n, 3): centres of the cage that was left and of the new one, A, unwrapped, drift removed.
    lengths
        Shape (n,): distance between the two, A.
    threshold
        In A.
    settling_time
        Least time in a cage, ps.
    frame_interval
        Time between frames, ps.
    n_frames, n_ions
        Frames used, and ions.
    rate
        Jumps of an ion in 1/ns, corrected for rests shorter than the settling time.
    residence_time
        Mean time in a cage, ps: the inverse of `rate`, which is the maximum-likelihood estimate of an exponential law.
    mean_length
        In A.
    moving
        Share of the ions that jumped.
    displaced
        Share of the ions whose last cage is farther than the threshold from their first.
    returns
        Share of the jumps that lead back to the cage that the ion left by the jump before, among those that had one.
    correlation
        Correlation factor f of the jumps: 1 for those that know nothing of one another, less where they lead back; as
        `diffusion`, from at least 20 jumps that follow another of the same ion.
    diffusion
        Diffusion coefficient that follows from the jumps, cm^2/s.
    vibration
        Root mean square of the distance from the centre of the cage along one axis, A.
    exponent
        How the rate depends on the threshold, as its power with the sign changed: 0 for jumps between narrow cages that
        are far apart, 2 for free diffusion; NaN below 20 jumps.
    continuous
        Why these are no jumps between cages but departures of ions that move continuously; empty for jumps.
    frames
        Numbers of the frames used in the trajectory.
    cages
        The cages.
    """

    species: str
    ion: Integers
    atom: Integers
    frame: Integers
    origins: Floats
    destinations: Floats
    lengths: Floats
    threshold: float
    settling_time: float
    frame_interval: float
    n_frames: int
    n_ions: int
    rate: Estimate
    residence_time: Estimate
    mean_length: Estimate
    moving: Estimate
    displaced: Estimate
    returns: Estimate
    correlation: Estimate
    diffusion: Estimate
    vibration: Estimate
    exponent: Estimate
    continuous: str
    frames: range
    cages: Cages

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a jump."""
        table: dict[str, ArrayLike] = {
            "ion": self.ion,
            "atom": self.atom,
            "frame": self.frame,
            "time_ps": self.frame_interval * self.cages.start[self.cages.left + 1],
            "length_A": self.lengths,
        }
        for name, places in (("from", self.origins), ("to", self.destinations)):
            table.update({f"{name}_{axis}_A": places[:, k] for k, axis in enumerate("xyz")})
        return table

    def plot(self, ax: Any = None) -> Any:
        """Draw the distribution of the lengths on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        ax.hist(self.lengths, bins=np.arange(self.threshold, self.lengths.max(initial=0) + 0.5, 0.25))
        ax.set(xlabel="length of a jump (Å)", ylabel="jumps")
        return ax


class Jumps:
    r"""Jumps of ions between the cages that they vibrate in, found without a lattice.

    An ion has left its cage when it stays farther than `threshold` from the centre of the cage, the mean of its places
    there, for `settling_time`. Each jump so leads from one rest to another, both at least as long as that.

    **Rate.** From censored data, rests that begin or end with the run, for an exponential law: jumps over the time in
    which one could have been seen, :meth:`~napos_lmp.analysis.mechanism.cages.Cages.exposure`. Intervals: jackknife
    over ions.

    **Diffusion.** :math:`D = n \langle l^2 \rangle f / 6` with n jumps a time and :math:`f = (1 + c) / (1 - c)`, c the
    mean of cos between jumps that follow each other, weighted by their lengths; that is exact where a jump remembers
    only the one before (K. Compaan and Y. Haven, Trans. Faraday Soc. 52, 786 (1956)).

    **Refused** where ions do not live in cages. Of real jumps there are about as many whatever the threshold; a free
    walk leaves a sphere of radius a at a rate that goes as :math:`a^{-2}`. The rate is measured at 0.8 and 1.25 times
    the threshold, too; when it falls faster than :math:`a^{-1}` between them, ions move continuously. Below 20 jumps,
    which cannot tell, the cages have to stand still: the mean place in the first and second half of a cage must not
    differ, in the mean square, by more than 0.6 times the mean-square distance from its centre (1.2 for a free walk).

    Parameters
    ----------
    source
        MDAnalysis Universe with unwrapped positions, or a :class:`MeanSquareDisplacementResult` of one.
    species
        Element to look at.
    threshold
        In A.
    settling_time
        In ps; no less than two frames are taken.

    Raises
    ------
    AnalysisError
        If a number is not positive, the species is not there, or as :class:`MeanSquareDisplacement`.
    """

    def __init__(
        self,
        source: Any,
        species: str = "Na",
        *,
        threshold: float = THRESHOLD,
        settling_time: float = SETTLING_TIME,
    ) -> None:
        for name, value, unit in (("threshold", threshold, "A"), ("settling_time", settling_time, "ps")):
            if not (math.isfinite(value) and value > 0):
                raise AnalysisError(f"{name} is {value} {unit}; it must be positive")
        displacements = source
        if not isinstance(source, MeanSquareDisplacementResult):
            displacements = MeanSquareDisplacement(source).run()
        self._tracks = displacements.tracks(species)
        self._interval: float = displacements.frame_interval
        self.species, self.threshold = species, threshold
        self._fewest = max(2, round(settling_time / self._interval))
        n_frames = displacements.n_frames
        if n_frames < 4 * self._fewest:
            raise AnalysisError(
                f"{n_frames} frames, {self._interval:g} ps apart, are too few to see jumps with a settling time of "
                f"{self._fewest * self._interval:g} ps; {4 * self._fewest} are the least"
            )

    def run(self, *, in_cages: bool = True) -> JumpResult:
        """Find the jumps.

        Parameters
        ----------
        in_cages
            Refuse ions that do not live in cages. Otherwise the result counts how they leave spheres of the threshold
            for good, whatever way they move, and says in `continuous` why these are no jumps.

        Raises
        ------
        AnalysisError
            If the ions do not live in cages, leave them within two settling times, or the run is too short to tell.
        """
        cages = find_cages(self._tracks, self.threshold, self._fewest)
        exposure = cages.exposure()
        exponent = self._exponent(int(exposure[:, 0].sum()))
        continuous = self._continuous(cages, exponent)
        if continuous and in_cages:
            raise AnalysisError(continuous)
        self._refuse_hasty(exposure)
        left = cages.left
        origins, destinations = cages.centre[left], cages.centre[left + 1]
        vectors = destinations - origins
        lengths = np.linalg.norm(vectors, axis=1)
        sums = self._sums(cages, vectors)
        rate = self._rate(exposure)
        first = np.flatnonzero(np.diff(cages.ion, prepend=-1))
        last = np.append(first[1:], len(cages.ion)) - 1
        net = np.linalg.norm(cages.centre[last] - cages.centre[first], axis=1)
        return JumpResult(
            species=self.species,
            ion=cages.ion[left],
            atom=np.asarray(self._tracks.indices, dtype=np.int64)[cages.ion[left]],
            frame=np.array(self._tracks.frames, dtype=np.int64)[cages.start[left + 1]],
            origins=origins,
            destinations=destinations,
            lengths=lengths,
            threshold=self.threshold,
            settling_time=self._fewest * self._interval,
            frame_interval=self._interval,
            n_frames=len(self._tracks.fractions),
            n_ions=cages.n_ions,
            rate=rate,
            residence_time=_inverse(rate),
            mean_length=jackknife_estimate(sums[:, [1, 0]], ratio, "Å", limits=(0, math.inf), none=_NO_JUMP),
            moving=share_estimate(int(np.sum(exposure[:, 0] > 0)), cages.n_ions),
            displaced=share_estimate(int(np.sum(net > self.threshold)), cages.n_ions),
            returns=jackknife_estimate(sums[:, [5, 6]], ratio, "", limits=(0, 1), none=_NO_PAIR),
            correlation=_of_pairs(sums, lambda total: _correlation(total[3:5]), ""),
            diffusion=_of_pairs(sums, _diffusion, "cm^2/s"),
            vibration=jackknife_estimate(cages.spread, _vibration, "Å", limits=(0, math.inf)),
            exponent=exponent,
            continuous=continuous,
            frames=self._tracks.frames,
            cages=cages,
        )

    def _exponent(self, n_jumps: int) -> Estimate:
        """How the rate depends on the threshold."""
        if n_jumps < _FEWEST_JUMPS:
            note = f"{n_jumps} jumps are too few; {_FEWEST_JUMPS} are needed"
            return Estimate(math.nan, math.nan, math.nan, "", note=note)
        both = [find_cages(self._tracks, f * self.threshold, self._fewest).exposure() for f in (_NARROWER, _WIDER)]

        def exponent(sums: Floats) -> Floats:
            rates = (sums[:, 0] + 0.5) / sums[:, 1]
            return np.asarray(np.log(rates[0] / rates[1]) / math.log(_WIDER / _NARROWER))

        return jackknife_estimate(np.stack(both, axis=1), exponent, "")

    def _continuous(self, cages: Cages, exponent: Estimate) -> str:
        """Why the ions do not live in cages; empty where they do."""
        if math.isfinite(exponent.value):
            if exponent.value <= LARGEST_EXPONENT:
                return ""
            return (
                f"{self.species} moves continuously and not by jumps: the rate of leaving a sphere of "
                f"{self.threshold:g} A falls as its radius to the power {-exponent.value:.1f}, which is 0 for jumps "
                f"and -2 for free diffusion; {-LARGEST_EXPONENT:g} is the least allowed"
            )
        squares, frames, wander, long = cages.spread.sum(axis=0)
        found = wander / long / (squares / frames) if squares > 0 else 0.0
        if found <= LARGEST_WANDER:
            return ""
        return (
            f"{len(self._tracks.fractions) * self._interval:g} ps with {len(cages.left)} jumps are too short to tell "
            f"jumps of {self.species} from continuous motion: the cages drift by {found:.2f} of the mean square of the "
            f"vibration in them; {LARGEST_WANDER:g} is the most allowed"
        )

    def _refuse_hasty(self, exposure: Floats) -> None:
        jumps, frames = exposure.sum(axis=0)
        settling = self._fewest * self._interval
        if frames * self._interval < _SHORTEST_RESIDENCE * settling * jumps:
            raise AnalysisError(
                f"{self.species} stays in a cage for {frames / jumps * self._interval:.2g} ps only; "
                f"{_SHORTEST_RESIDENCE:g} times the settling time of {settling:g} ps are the least"
            )

    def _rate(self, exposure: Floats) -> Estimate:
        """Jumps of an ion in 1/ns."""
        jumps, frames = exposure.sum(axis=0).tolist()

        def rate(sums: Floats) -> Floats:
            return np.asarray(-np.log1p(-sums[0] / sums[1]) / self._interval * 1000)

        if jumps >= _FEW_COUNTS and len(exposure) >= FEWEST_GROUPS:
            return jackknife_estimate(exposure, rate, "1/ns", limits=(0, math.inf))
        low, high = (1000 * count / (frames * self._interval) for count in count_interval(round(jumps)))
        value = float(rate(exposure.sum(axis=0)))
        return Estimate(value, low, high, "1/ns", note="few jumps; the interval is that of independent ones")

    def _sums(self, cages: Cages, vectors: Floats) -> Floats:
        """What each ion adds, shape (ions, 8).

        Of its jumps, the number and sums of lengths and of squared lengths; of pairs that follow each other, sums of
        their products, of the mean of their squares, the number that return, and the number; and the time in ps.
        """
        ion, squared = cages.ion[cages.left], np.sum(vectors**2, axis=1)
        sums = np.zeros((cages.n_ions, 8))
        for column, values in enumerate((np.ones(len(ion)), np.sqrt(squared), squared)):
            np.add.at(sums[:, column], ion, values)
        pairs = np.flatnonzero(ion[:-1] == ion[1:])
        back = np.linalg.norm(vectors[pairs] + vectors[pairs + 1], axis=1) <= self.threshold
        products = np.sum(vectors[pairs] * vectors[pairs + 1], axis=1)
        means = (squared[pairs] + squared[pairs + 1]) / 2
        for column, values in enumerate((products, means, back, np.ones(len(pairs))), start=3):
            np.add.at(sums[:, column], ion[pairs], values)
        sums[:, 7] = len(self._tracks.fractions) * self._interval
        return sums


def _of_pairs(sums: Floats, function: Callable[[Floats], Floats], unit: str) -> Estimate:
    """A number that needs jumps that follow each other."""
    pairs = int(sums[:, 6].sum())
    if pairs < _FEWEST_PAIRS:
        note = f"{pairs} jumps after another of the same ion are too few; {_FEWEST_PAIRS} are needed"
        return Estimate(math.nan, math.nan, math.nan, unit, note=note)
    return jackknife_estimate(sums, function, unit, limits=(0, math.inf))


def _diffusion(sums: Floats) -> Floats:
    """In cm^2/s."""
    return np.asarray(sums[2] / sums[7] / 6 * _correlation(sums[3:5]) * A2_PER_PS_IN_CM2_PER_S)


def _inverse(rate: Estimate) -> Estimate:
    """Mean time in ps between events of a rate in 1/ns."""
    if rate.value == 0:
        return Estimate(math.nan, math.nan, math.nan, "ps", note=f"{_NO_JUMP}; it exceeds {1000 / rate.high:.3g} ps")
    low, high = 1000 / rate.high, 1000 / rate.low if rate.low > 0 else math.nan
    return Estimate(1000 / rate.value, low, high, "ps", note=rate.note)


def _correlation(sums: Floats) -> Floats:
    cosine = sums[0] / sums[1]
    return np.asarray((1 + cosine) / (1 - cosine))


def _vibration(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(sums[0] / sums[1] / 3))
