"""Ionic conductivity from self-diffusion by the Nernst-Einstein relation, and its ratio to the collective one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Result
from napos_lmp.analysis.transport.diffusion import DiffusionResult
from napos_lmp.errors import AnalysisError

ELEMENTARY_CHARGE = 1.602176634e-19
BOLTZMANN_CONSTANT = 1.380649e-23
_CM3_PER_A3 = 1e-24
_A2_PER_PS_A3_IN_PER_M_S = 1e22
_S_PER_M_IN_S_PER_CM = 1e-2
_NEUTRAL = 1e-6


@dataclass(frozen=True)
class ConductivityResult(Result):
    """Nernst-Einstein conductivity.

    Attributes
    ----------
    conductivity
        In S/cm with its interval. It leaves out correlations between ions (the Haven ratio is taken as 1).
    temperature
        In K.
    volume
        Mean volume of the box in A^3.
    charges
        Charge number of each species that counts.
    contributions
        Part of each species in S/cm.
    left_out
        Species of the system that do not count, because no diffusion coefficient was given for them.
    relative_variance
        Variance of the conductivity over its square.
    """

    conductivity: Estimate
    temperature: float
    volume: float
    charges: Mapping[str, float]
    contributions: Mapping[str, Estimate]
    left_out: tuple[str, ...]
    relative_variance: float

    @property
    def carriers(self) -> tuple[str, ...]:
        """The species that count."""
        return tuple(self.contributions)

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row per species and one for their sum."""
        rows = [*self.contributions.values(), self.conductivity]
        return {
            "species": [*self.contributions, "total"],
            "charge": [*(self.charges[name] for name in self.contributions), float("nan")],
            "temperature_K": [self.temperature] * len(rows),
            "conductivity_S_per_cm": [row.value for row in rows],
            "low_S_per_cm": [row.low for row in rows],
            "high_S_per_cm": [row.high for row in rows],
        }


class HasConductivity(Protocol):
    """A conductivity whose relative variance is known, by whatever method."""

    @property
    def conductivity(self) -> Estimate:
        """In S/cm."""
        ...

    @property
    def relative_variance(self) -> float:
        """Its variance over its square."""
        ...


def haven_ratio(single: HasConductivity, collective: HasConductivity) -> Estimate:
    r"""Haven ratio, the conductivity of ions taken as independent over that with all correlations.

    .. math:: H = \sigma_{NE} / \sigma_{collective}

    It is 1 for ions that move independently, 1/2 for equal ions that move in locked pairs, 1/n for groups of n, and
    grows without limit where ions of opposite charge move together. Both conductivities are scaled chi-square
    variables, so that the ratio follows an F distribution; they are taken as independent of each other, since the
    collective one, of a single walker, has nearly all of the error.
    """
    from scipy.stats import f

    value = single.conductivity.value / collective.conductivity.value
    level = collective.conductivity.level
    above, below = 2 / single.relative_variance, 2 / collective.relative_variance
    low, high = (value / float(f.ppf((1 + sign * level) / 2, above, below)) for sign in (1, -1))
    return Estimate(value, low, high, "", level)


def checked_charges(charges: Mapping[str, float], n_atoms: Mapping[str, int]) -> dict[str, float]:
    """Charge number of every species of a system, which must be neutral.

    Raises
    ------
    AnalysisError
        If a species has no charge, or the charges do not sum to zero.
    """
    missing = [name for name in n_atoms if name not in charges]
    if missing:
        raise AnalysisError(f"species {missing[0]!r} has no charge; charges are given for {', '.join(charges)}")
    total = sum(n_atoms[name] * charges[name] for name in n_atoms)
    size = sum(n_atoms[name] * abs(charges[name]) for name in n_atoms)
    if size == 0 or not abs(total) <= _NEUTRAL * size:
        counts = ", ".join(f"{n_atoms[name]} {name} of {charges[name]:+g}" for name in n_atoms)
        raise AnalysisError(f"the charges of {counts} sum to {total:+g}; they must sum to zero, and not all be zero")
    return {name: float(charges[name]) for name in n_atoms}


def check_state(temperature: float, volume: float) -> None:
    """Refuse a temperature or a volume from which no conductivity follows."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise AnalysisError(f"temperature is {temperature} K; it must be positive")
    if not np.isfinite(volume):
        raise AnalysisError("the system has no periodic box; a conductivity needs its volume")
    if not volume > 0:
        raise AnalysisError(f"volume is {volume} A^3; it must be positive")


def onsager_factor(temperature: float, volume: float) -> float:
    """What turns A^2/ps, the growth of a mean displacement squared over 6, into an Onsager coefficient in 1/(J m s)."""
    return _A2_PER_PS_A3_IN_PER_M_S / (volume * BOLTZMANN_CONSTANT * temperature)


def conductivity_factor(temperature: float, volume: float) -> float:
    """The same into S/cm, for displacements of charge in units of the elementary charge times A."""
    return onsager_factor(temperature, volume) * ELEMENTARY_CHARGE**2 * _S_PER_M_IN_S_PER_CM


class NernstEinsteinConductivity:
    r"""Conductivity of ions that move independently of each other.

    .. math:: \sigma = \frac{e^2}{V k_B T} \sum_s z_s^2 N_s D_s

    over the species whose diffusion coefficients are given: the mobile one, or all. Intervals of several species are
    added in quadrature, each side on its own.

    Parameters
    ----------
    diffusion
        Diffusion of each species that counts, all from one trajectory.
    temperature
        In K.
    charges
        Charge number of each species, such as ``{"Na": 1}``.
    all_species
        The species of the system, to state those that are left out.
    """

    def __init__(
        self,
        diffusion: DiffusionResult | Sequence[DiffusionResult],
        temperature: float,
        charges: Mapping[str, float],
        *,
        all_species: Sequence[str] = (),
    ) -> None:
        self._diffusion = [diffusion] if isinstance(diffusion, DiffusionResult) else list(diffusion)
        if not self._diffusion:
            raise AnalysisError("no diffusion coefficient is given; a conductivity needs at least one")
        if not (np.isfinite(temperature) and temperature > 0):
            raise AnalysisError(f"temperature is {temperature} K; it must be positive")
        names = [result.species for result in self._diffusion]
        missing = [name for name in names if name not in charges]
        if missing:
            raise AnalysisError(f"species {missing[0]!r} has no charge; charges are given for {', '.join(charges)}")
        if len(set(names)) < len(names):
            raise AnalysisError(f"species are {', '.join(names)}; each may occur once only")
        volumes = [result.volume for result in self._diffusion]
        if not np.all(np.isfinite(volumes)):
            raise AnalysisError("the system has no periodic box; a conductivity needs its volume")
        if not np.allclose(volumes, volumes[0], rtol=1e-6):
            raise AnalysisError(f"the volumes are {volumes} A^3; all species must come from one trajectory")
        self.temperature = temperature
        self.charges = {name: float(charges[name]) for name in names}
        self._left_out = tuple(name for name in all_species if name not in names)

    def run(self) -> ConductivityResult:
        """Compute the conductivity."""
        contributions = {result.species: self._contribution(result) for result in self._diffusion}
        parts = list(contributions.values())
        value = sum(part.value for part in parts)
        return ConductivityResult(
            conductivity=Estimate(
                value,
                value - float(np.sqrt(sum((part.value - part.low) ** 2 for part in parts))),
                value + float(np.sqrt(sum((part.high - part.value) ** 2 for part in parts))),
                "S/cm",
                parts[0].level,
                note="ions taken as independent (Haven ratio 1)",
            ),
            temperature=self.temperature,
            volume=self._diffusion[0].volume,
            charges=self.charges,
            contributions=contributions,
            left_out=self._left_out,
            relative_variance=self._variance(contributions) / value**2,
        )

    def _variance(self, contributions: Mapping[str, Estimate]) -> float:
        return sum(contributions[part.species].value ** 2 * part.relative_variance for part in self._diffusion)

    def _contribution(self, result: DiffusionResult) -> Estimate:
        density = result.n_atoms / (result.volume * _CM3_PER_A3)
        charge = self.charges[result.species] * ELEMENTARY_CHARGE
        return result.diffusion.scaled(density * charge**2 / (BOLTZMANN_CONSTANT * self.temperature), "S/cm")
