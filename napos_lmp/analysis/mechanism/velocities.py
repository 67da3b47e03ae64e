"""Velocities of the atoms of a trajectory: as written, or from unwrapped positions by differences of known response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, checked_atoms, checked_frames
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement, Tracks
from napos_lmp.analysis.transport.unwrapped import uniform_interval
from napos_lmp.errors import AnalysisError

HIGHEST = {"H": 130.0, "C": 90.0, "N": 90.0, "B": 45.0, "O": 42.0, "F": 40.0}
"""Frequency in THz above which compounds of an element do not vibrate: O-H stretching, C=C and C=O, B-O in BO3 (1500
1/cm), P=O (1400 1/cm). A compound vibrates no faster than its fastest element."""
HIGHEST_OF_OTHERS = 25.0
"""The same in THz for all others; P-S stretching ends at 720 1/cm, 22 THz."""
WEIGHTS = (1225 / 1024, -245 / 3072, 49 / 5120, -5 / 7168)
"""Of the differences over 1, 3, 5 and 7 intervals: the derivative at their middle, to eighth order."""

_BAND = 0.8
_TOP_SHARE = 0.01
_FEWEST_FRAMES = 32
_CHUNK = 256


@dataclass(frozen=True)
class Velocities:
    """Velocities at evenly spaced times, the motion of the centre of mass taken out.

    Attributes
    ----------
    values
        For each element, shape (atoms, 3, times), float32, A/ps.
    masses
        For each element, shape (atoms,), u.
    modes
        For each element 3 sum_i (1 - m_i / M): its degrees of freedom; three less than 3 N for the whole system.
    interval
        Time between them, ps.
    origin
        Whether the trajectory holds velocities, or they are differences of positions.
    msd
        Mean-square displacement of each element in A^2, shape (frames,), from the same frames; empty where positions
        could not be used.
    highest
        Frequency in THz that the frames had to resolve.
    """

    values: Mapping[str, NDArray[np.float32]]
    masses: Mapping[str, Floats]
    modes: Mapping[str, float]
    interval: float
    origin: Literal["velocities", "positions"]
    msd: Mapping[str, Floats]
    highest: float

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements, in the order of the trajectory."""
        return tuple(self.values)

    @property
    def n_times(self) -> int:
        """Number of times."""
        return int(next(iter(self.values.values())).shape[2])

    @classmethod
    def of(cls, source: Any, options: Mapping[str, Any]) -> Velocities:
        """The source itself if it is of this class, else what :func:`read_velocities` makes of it."""
        if not isinstance(source, Velocities):
            return read_velocities(source, **options)
        if options:
            raise AnalysisError(f"{next(iter(options))} belongs to the velocities that were given; set it there")
        return source

    def response(self, frequencies: Floats) -> Floats:
        """Amplitude that a vibration of each frequency (THz) keeps in these velocities: 1 where they were written."""
        if self.origin == "velocities":
            return np.ones_like(frequencies)
        return difference_response(2 * np.pi * frequencies * self.interval)


def difference_response(phase: Floats) -> Floats:
    r"""Response of the differences to :math:`e^{i\omega t}`, with the phase :math:`\omega\,\Delta t`.

    .. math:: H = \sum_{j=1}^4 c_j \frac{2 \sin((j - 1/2)\,\omega \Delta t)}{\omega \Delta t}

    It is 1 within 2e-4 up to 0.3, and 0.82 at 1, of Nyquist's frequency.
    """
    return np.asarray(
        sum(w * (2 * j + 1) * np.sinc((j + 0.5) * phase / np.pi) for j, w in enumerate(WEIGHTS)), dtype=np.float64
    )


def read_velocities(
    source: Any,
    *,
    highest: float | None = None,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
) -> Velocities:
    """Velocities of a Universe or AtomGroup.

    Those of the trajectory are taken where it has any (A/ps). Else they are differences of unwrapped positions over
    four pairs of frames, which hold the velocity in the middle of two frames to eighth order; what they lack towards
    Nyquist's frequency is known (:func:`difference_response`).

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements and frames that are uniform in time.
    highest
        Frequency in THz that the frames must resolve; None takes it from the elements: 25 THz, 42 with O, 45 with B.
    start, stop, step
        Frames to use, as in a slice.

    Raises
    ------
    AnalysisError
        If the frames are fewer than 32, not uniform in time, too far apart for the highest frequency, or positions
        are needed and wrapped.
    """
    atoms = checked_atoms(source, needs_box=False)
    frames = checked_frames(atoms.atoms.universe.trajectory, start, stop, step)
    if len(frames) < _FEWEST_FRAMES:
        raise AnalysisError(f"{len(frames)} frames are too few for velocities in time; {_FEWEST_FRAMES} are the least")
    limit = highest_frequency(atoms.elements) if highest is None else float(highest)
    if not limit > 0:
        raise AnalysisError(f"highest is {limit:g} THz; it must be above 0")
    written = getattr(atoms.atoms.universe.trajectory[frames[0]], "has_velocities", False)
    interval = uniform_interval(np.array([atoms.atoms.universe.trajectory[frame].time for frame in frames]))
    _refuse_coarse(interval, limit, atoms.elements)
    displacements = None
    try:
        displacements = MeanSquareDisplacement(source, start=start, stop=stop, step=step).run()
    except AnalysisError:
        if not written:
            raise
    values = {}
    if written:
        values = _written(atoms, frames)
    else:
        assert displacements is not None
        for name in atoms.elements:
            values[name] = _differences(displacements.tracks(name), interval)
    everything = checked_atoms(atoms.atoms.universe, needs_box=False)
    total = float(everything.masses.sum())
    masses = {name: atoms.masses[atoms.where(name)] for name in atoms.elements}
    found = Velocities(
        values=values,
        masses=masses,
        modes={name: float(3 * np.sum(1 - mass / total)) for name, mass in masses.items()},
        interval=interval,
        origin="velocities" if written else "positions",
        msd={} if displacements is None else displacements.msd,
        highest=limit,
    )
    _refuse_aliased(found)
    return found


def highest_frequency(elements: tuple[str, ...]) -> float:
    """Frequency in THz above which a compound of these elements does not vibrate."""
    return max(HIGHEST.get(element, HIGHEST_OF_OTHERS) for element in elements)


def _refuse_coarse(interval: float, highest: float, elements: tuple[str, ...]) -> None:
    longest = _BAND / (2 * highest)
    if interval > longest * (1 + 1e-6):
        raise AnalysisError(
            f"frames are {interval * 1000:g} fs apart and resolve {0.5 / interval:.3g} THz; vibrations of "
            f"{', '.join(elements)} up to {highest:g} THz need frames at most {longest * 1000:.3g} fs apart (stage "
            "vibrate)"
        )


def _refuse_aliased(velocities: Velocities) -> None:
    """The top fifth of the band must be empty: what lies above it would be folded down."""
    kinetic = top = 0.0
    for name, values in velocities.values.items():
        power = np.abs(np.fft.rfft(values[:64] * np.hanning(values.shape[2]), axis=2)) ** 2
        shares = np.sum(power, axis=(1, 2)), np.sum(power[..., int(_BAND * power.shape[2]) :], axis=(1, 2))
        scale = len(values) / len(values[:64])
        kinetic += scale * float(velocities.masses[name][:64] @ shares[0])
        top += scale * float(velocities.masses[name][:64] @ shares[1])
    if kinetic == 0:
        raise AnalysisError("all velocities are zero; the trajectory must move")
    if top > _TOP_SHARE * kinetic:
        raise AnalysisError(
            f"{100 * top / kinetic:.1f} % of the kinetic energy lies in the top fifth of the "
            f"{0.5 / velocities.interval:.3g} THz that frames {velocities.interval * 1000:g} fs apart resolve; at most "
            f"{100 * _TOP_SHARE:g} % may: write frames more often"
        )


def _written(atoms: Any, frames: range) -> dict[str, NDArray[np.float32]]:
    everything = checked_atoms(atoms.atoms.universe, needs_box=False)
    weights = everything.masses / everything.masses.sum()
    where = {name: atoms.atoms.indices[atoms.where(name)] for name in atoms.elements}
    values = {name: np.empty((len(indices), 3, len(frames)), dtype=np.float32) for name, indices in where.items()}
    for k, ts in enumerate(atoms.atoms.universe.trajectory[frames.start : frames[-1] + 1 : frames.step]):
        moving = ts.velocities - weights @ ts.velocities
        for name, indices in where.items():
            values[name][:, :, k] = moving[indices]
    return values


def _differences(tracks: Tracks, interval: float) -> NDArray[np.float32]:
    """Velocities in the middle of neighbouring frames, shape (atoms, 3, frames - 7)."""
    reach = len(WEIGHTS)
    n_frames, _, n_atoms = tracks.fractions.shape
    count = n_frames - 2 * reach + 1
    velocities = np.zeros((n_atoms, 3, count), dtype=np.float32)
    for first in range(0, n_atoms, _CHUNK):
        paths = tracks.of_atoms(first, min(first + _CHUNK, n_atoms))
        total = np.zeros((*paths.shape[:2], count))
        for j, weight in enumerate(WEIGHTS):
            later, earlier = reach + j, reach - 1 - j
            total += weight * (paths[..., later : later + count] - paths[..., earlier : earlier + count])
        velocities[first : first + _CHUNK] = total / interval
    return velocities
