"""Transport on the frames and currents of one stage as quantities with keys, for `analysis.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import Quantity, Window
from napos_lmp.analysis.transport.collective import EinsteinHelfandConductivity, EinsteinHelfandResult
from napos_lmp.analysis.transport.conductivity import (
    ConductivityResult,
    HasConductivity,
    NernstEinsteinConductivity,
    haven_ratio,
)
from napos_lmp.analysis.transport.diffusion import A2_PER_PS_IN_CM2_PER_S, DiffusionCoefficient, DiffusionResult
from napos_lmp.analysis.transport.green_kubo import GreenKuboConductivity
from napos_lmp.analysis.transport.msd import MeanSquareDisplacementResult
from napos_lmp.currents import VelocitySums
from napos_lmp.errors import AnalysisError

COLLECTIVE = "conductivity.collective", "conductivity with correlations between ions, by Einstein-Helfand"
GREEN_KUBO = "conductivity.green_kubo", "conductivity with correlations between ions, by Green-Kubo"
HAVEN = "haven_ratio", "Haven ratio, by Einstein-Helfand"
HAVEN_GREEN_KUBO = "haven_ratio.green_kubo", "Haven ratio, by Green-Kubo"


def measure_transport(
    displacements: MeanSquareDisplacementResult,
    temperature: float,
    charges: Mapping[str, float],
    *,
    mobile: str = "Na",
    currents: VelocitySums | None = None,
) -> Findings:
    """Diffusion of each species, and the conductivity in every way that the data support.

    Parameters
    ----------
    displacements
        Of all species of the stage.
    temperature
        Mean of the stage, in K.
    charges
        Charge number of every species.
    mobile
        The ion that carries the charge.
    currents
        Sums of velocities of the same stage, if it wrote them.
    """
    found = Findings(tables={"msd": displacements})
    diffusion: dict[str, DiffusionResult] = {}
    refusals: dict[str, str] = {}
    for species in displacements.species:
        try:
            diffusion[species] = DiffusionCoefficient(displacements, species).run()
        except AnalysisError as error:
            refusals[species] = str(error)
        found.quantities.extend(_diffusion(displacements, species, diffusion.get(species), refusals.get(species, "")))
    found.windows.extend(_window(result) for result in diffusion.values())
    if mobile not in displacements.species:
        return found
    if mobile in refusals:
        found.quantities.extend(_all_refused(refusals[mobile], with_currents=currents is not None))
        return found
    own = NernstEinsteinConductivity(diffusion[mobile], temperature, charges, all_species=displacements.species).run()
    found.quantities.extend(
        _nernst_einstein(own, list(diffusion.values()), displacements.species, temperature, charges)
    )
    settled_from = diffusion[mobile].window_start
    try:
        helfand = EinsteinHelfandConductivity(
            displacements.collective, temperature, charges, settled_from=settled_from, mobile=(mobile,)
        ).run()
    except AnalysisError as error:
        found.quantities.append(refused(*COLLECTIVE, "S/cm", str(error)))
        found.quantities.append(refused(*HAVEN, "", str(error)))
    else:
        found.tables["charge_displacement"] = helfand
        found.quantities.extend(_correlated(COLLECTIVE, HAVEN, own, helfand))
        found.quantities.extend(_onsager(helfand))
    if currents is not None:
        _add_green_kubo(found, own, currents, temperature, charges, settled_from)
    return found


def _add_green_kubo(
    found: Findings,
    own: ConductivityResult,
    currents: VelocitySums,
    temperature: float,
    charges: Mapping[str, float],
    settled_from: float,
) -> None:
    try:
        result = GreenKuboConductivity(
            currents, temperature, own.volume, settled_from=settled_from, charges=charges
        ).run()
    except AnalysisError as error:
        found.quantities.append(refused(*GREEN_KUBO, "S/cm", str(error)))
        found.quantities.append(refused(*HAVEN_GREEN_KUBO, "", str(error)))
    else:
        found.tables["green_kubo"] = result
        found.quantities.extend(_correlated(GREEN_KUBO, HAVEN_GREEN_KUBO, own, result))


def _diffusion(
    displacements: MeanSquareDisplacementResult, species: str, result: DiffusionResult | None, refusal: str
) -> Iterator[Quantity]:
    key, label = f"diffusion.{species}", f"self-diffusion coefficient of {species}"
    if result is None:
        yield refused(key, label, "cm^2/s", refusal)
    else:
        yield Quantity.of_estimate(key, label, result.diffusion)
    parameter = displacements.non_gaussian(species)
    early = displacements.grid <= displacements.n_frames // 2
    if np.any(np.isfinite(parameter[early])):
        peak = int(np.nanargmax(np.where(early, parameter, np.nan)))
        yield Quantity(
            key=f"non_gaussian.{species}",
            label=f"largest non-Gaussian parameter of {species}",
            unit="",
            value=float(parameter[peak]),
            note=f"at {displacements.grid[peak] * displacements.frame_interval:g} ps",
        )


def _window(result: DiffusionResult) -> Window:
    return Window(
        species=result.species,
        start_ps=result.window_start,
        stop_ps=result.window_stop,
        intercept_A2=result.intercept,
        slope_A2_ps=6 * result.diffusion.value / A2_PER_PS_IN_CM2_PER_S,
    )


def _all_refused(reason: str, *, with_currents: bool) -> Iterator[Quantity]:
    yield refused("conductivity", "conductivity by Nernst-Einstein", "S/cm", reason)
    yield refused(*COLLECTIVE, "S/cm", reason)
    yield refused(*HAVEN, "", reason)
    if with_currents:
        yield refused(*GREEN_KUBO, "S/cm", reason)
        yield refused(*HAVEN_GREEN_KUBO, "", reason)


def _nernst_einstein(
    own: ConductivityResult,
    diffusion: list[DiffusionResult],
    species: tuple[str, ...],
    temperature: float,
    charges: Mapping[str, float],
) -> Iterator[Quantity]:
    yield Quantity.of_estimate("conductivity", "conductivity by Nernst-Einstein", own.conductivity)
    if len(diffusion) == 1:
        return
    every = NernstEinsteinConductivity(diffusion, temperature, charges, all_species=species).run()
    yield Quantity.of_estimate(
        "conductivity.all_species",
        f"conductivity by Nernst-Einstein of {', '.join(every.carriers)}",
        every.conductivity,
    )


def _correlated(
    name: tuple[str, str], ratio: tuple[str, str], own: ConductivityResult, result: HasConductivity
) -> Iterator[Quantity]:
    yield Quantity.of_estimate(*name, result.conductivity)
    yield Quantity.of_estimate(*ratio, haven_ratio(own, result))


def _onsager(result: EinsteinHelfandResult) -> Iterator[Quantity]:
    frame = {"framework": "the framework", "system": "the centre of mass", "none": "the box"}[result.reference]
    for species, share in result.transference.items():
        label = f"transference number of {species} against {frame}"
        yield Quantity.of_estimate(f"transference.{species}", label, share)
    names = list(result.charges)
    for i, a in enumerate(names):
        for b in names[i:]:
            label = f"Onsager coefficient of {a} and {b} against {frame}"
            yield Quantity.of_estimate(f"onsager.{a}-{b}", label, result.onsager[a, b])
