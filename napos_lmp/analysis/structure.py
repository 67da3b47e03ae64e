"""The structure of one trajectory: every measurement of it, with its quantities for `analysis.json` and its tables.

This is the one place where the measurements of structure are listed; decks and bare trajectories are measured alike.
A measurement that the data do not support is refused, with the reason, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.frames import checked_workers
from napos_lmp.analysis.network.angles import BondAngles
from napos_lmp.analysis.network.clusters import NetworkClusters
from napos_lmp.analysis.network.environments import Environments
from napos_lmp.analysis.network.groups import AnionGroups
from napos_lmp.analysis.network.linkages import Linkages
from napos_lmp.analysis.network.network import Network, NetworkMeasurement, measure_together
from napos_lmp.analysis.network.rings import RingStatistics
from napos_lmp.analysis.network.speciation import NetworkSpeciation
from napos_lmp.analysis.pairs.lorch import check_structure_factor
from napos_lmp.analysis.pairs.rdf import PartialRDF, PartialRDFResult
from napos_lmp.analysis.pairs.structure_factor import StructureFactor
from napos_lmp.analysis.pairs.total_rdf import total_rdf
from napos_lmp.analysis.quantities.medium import (
    cavity_quantities,
    cluster_quantities,
    density_profile_quantities,
    environment_quantities,
    ring_quantities,
)
from napos_lmp.analysis.quantities.network import angle_quantities, group_quantities, linkage_quantities
from napos_lmp.analysis.quantities.pairs import (
    pair_structure_quantities,
    structure_factor_check_quantities,
    structure_factor_quantities,
    total_rdf_quantities,
)
from napos_lmp.analysis.quantities.shared import network_quantities, shell_quantities
from napos_lmp.analysis.results import Quantity
from napos_lmp.analysis.space.cavities import Cavities
from napos_lmp.analysis.space.density_profile import DensityProfile
from napos_lmp.errors import AnalysisError

MOST_FRAMES = 500
"""Frames that the structure is averaged over by default; a longer trajectory is read in equal strides."""

MOST_SCATTERING_FRAMES = 100
"""Frames that S(q) is averaged over by default."""

MOST_CAVITY_FRAMES = 12
"""Frames that the cavities are averaged over by default; they take seconds each in large cells."""

MOBILE = "Na"
"""The ion whose surroundings are measured."""

Progress = Callable[[str], None]
Frames = tuple[int | None, int | None, int]


@dataclass(frozen=True)
class StructureOptions:
    """What to measure the structure on, and how.

    Attributes
    ----------
    start, stop, step
        Slice of the frames; without `step`, all up to 500 and equal strides of a longer trajectory.
    formers, anions
        Elements of the network, see :class:`~napos_lmp.analysis.network.network.Network`.
    cutoffs
        Longest bonds in A by pair, such as ``{"P-S": 2.6}``.
    workers
        Most processes to use; None takes every core.
    """

    start: int | None = None
    stop: int | None = None
    step: int | None = None
    formers: Sequence[str] | None = None
    anions: Sequence[str] | None = None
    cutoffs: Mapping[str, float] = field(default_factory=dict)
    workers: int | None = None

    def slice(self, n_frames: int, most: int = MOST_FRAMES) -> Frames:
        """Start, stop and step for a trajectory of `n_frames`, of which no more than `most` are to be read."""
        if self.step is not None:
            return self.start, self.stop, self.step
        chosen = len(range(*slice(self.start, self.stop).indices(n_frames)))
        return self.start, self.stop, max(1, -(-chosen // most))


@dataclass(frozen=True)
class _NetworkPart:
    """A measurement that is read from the bond graphs: its name, how to make it, and the quantities of its result."""

    name: str
    make: Callable[[Network], NetworkMeasurement[Any, Any]]
    quantities: Callable[[Any], Iterator[Quantity]]


_NETWORK_PARTS = (
    _NetworkPart("network", NetworkSpeciation, network_quantities),
    _NetworkPart("linkages", Linkages, linkage_quantities),
    _NetworkPart("groups", AnionGroups, group_quantities),
    _NetworkPart("angles", BondAngles, angle_quantities),
    _NetworkPart("rings", RingStatistics, ring_quantities),
    _NetworkPart("clusters", NetworkClusters, cluster_quantities),
)


def measure_structure(
    source: Any, options: StructureOptions | None = None, progress: Progress | None = None
) -> Findings:
    """Measure the structure of a trajectory.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements and a periodic box of any shape.
    options
        Frames, network and processes.
    progress
        Is told in a few words what is being measured.

    Raises
    ------
    AnalysisError
        If the number of workers is below 1. All else that the data do not support is in the refusals; under
        "structure" where nothing could be measured.
    """
    options = options or StructureOptions()
    tell = progress or (lambda _: None)
    checked_workers(options.workers)
    findings = Findings()
    frames = options.slice(len(source.universe.trajectory))
    tell("pair distribution functions")
    try:
        pairs = PartialRDF(source).run(*frames, workers=options.workers)
    except AnalysisError as error:
        findings.refusals["structure"] = str(error)
        return findings
    findings.add("rdf", pairs)
    findings.add("shells", pairs.shells(), shell_quantities(pairs))
    findings.add("peaks", pairs.peak_table(), pair_structure_quantities(pairs))
    totals = total_rdf(pairs)
    findings.add("total_rdf", totals, total_rdf_quantities(totals))
    tell("structure factors")
    _measure_scattering(source, pairs, options, findings)
    tell("network")
    try:
        network = _network(source, options, pairs)
    except AnalysisError as error:
        findings.refusals["network"] = str(error)
    else:
        parts = list(_NETWORK_PARTS)
        if MOBILE in network.atoms.elements:
            around = partial(Environments, centre=MOBILE, rdf=pairs)
            parts.append(_NetworkPart("environment", around, environment_quantities))
        _measure_network(network, parts, frames, options.workers, findings)
    tell("voids")
    _measure_space(source, options, findings)
    return findings


def measured_network(source: Any, options: StructureOptions, found: Findings) -> Network | None:
    """The network that :func:`measure_structure` measured, for further measurements of it; None if there was none."""
    pairs = found.tables.get("rdf")
    if "network" in found.refusals or not isinstance(pairs, PartialRDFResult):
        return None
    return _network(source, options, pairs)


def _network(source: Any, options: StructureOptions, pairs: PartialRDFResult) -> Network:
    return Network(source, formers=options.formers, anions=options.anions, cutoffs=options.cutoffs, rdf=pairs)


def _measure_scattering(source: Any, pairs: PartialRDFResult, options: StructureOptions, findings: Findings) -> None:
    frames = options.slice(len(source.universe.trajectory), MOST_SCATTERING_FRAMES)
    try:
        factors = StructureFactor(source).run(*frames, workers=options.workers)
        check = check_structure_factor(factors, pairs)
    except AnalysisError as error:
        findings.refusals["structure_factor"] = str(error)
        return
    findings.add("structure_factor", factors, structure_factor_quantities(factors))
    findings.add("structure_factor_check", check, structure_factor_check_quantities(check))


def _measure_space(source: Any, options: StructureOptions, findings: Findings) -> None:
    """Cavities, in fewer frames as each takes long, and the density in layers."""
    n_frames = len(source.universe.trajectory)
    try:
        voids = Cavities(source).run(*options.slice(n_frames, MOST_CAVITY_FRAMES), workers=options.workers)
        findings.add("cavities", voids, cavity_quantities(voids))
    except AnalysisError as error:
        findings.refusals["cavities"] = str(error)
    try:
        profile = DensityProfile(source).run(*options.slice(n_frames), workers=options.workers)
        findings.add("density_profile", profile, density_profile_quantities(profile))
    except AnalysisError as error:
        findings.refusals["density_profile"] = str(error)


def _measure_network(
    network: Network, parts: Sequence[_NetworkPart], frames: Frames, workers: int | None, findings: Findings
) -> None:
    """Measure all parts in one pass; where that fails, each alone, to know which one fails and why."""
    try:
        results = measure_together([part.make(network) for part in parts], *frames, workers=workers)
    except AnalysisError as error:
        if len(parts) == 1:
            findings.refusals[parts[0].name] = str(error)
            return
        for part in parts:
            _measure_network(network, [part], frames, workers, findings)
        return
    for part, result in zip(parts, results, strict=True):
        findings.add(part.name, result, part.quantities(result))
