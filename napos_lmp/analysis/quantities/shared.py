"""The numbers in the results of measurements as quantities with keys, for `analysis.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.network.speciation import NetworkResult
from napos_lmp.analysis.pairs.rdf import PartialRDFResult
from napos_lmp.analysis.results import Quantity

_CUTOFF_SOURCES = {"data": "", "table": "cutoff from the literature", "given": "cutoff as given"}


def refused(key: str, label: str, unit: str, reason: str) -> Quantity:
    """A quantity that could not be determined, and why."""
    return Quantity(key=key, label=label, unit=unit, refused=reason)


def shell_quantities(pairs: PartialRDFResult) -> Iterator[Quantity]:
    """First-peak distances, cutoffs and coordination numbers of all pairs that have them."""
    for name, pair in pairs.pairs.items():
        if math.isfinite(pair.peak):
            yield Quantity(key=f"peak.{name}", label=f"first peak of g(r), {name}", unit="Å", value=pair.peak)
        if math.isfinite(pair.cutoff.value):
            note = "; ".join(filter(None, (_CUTOFF_SOURCES.get(pair.cutoff.source), pair.cutoff.note)))
            yield Quantity(key=f"cutoff.{name}", label=f"cutoff {name}", unit="Å", value=pair.cutoff.value, note=note)
        for direction, number in pair.coordination.items():
            key = f"coordination.{direction.replace(' around ', '.')}"
            yield Quantity.of_estimate(key, f"{direction}, coordination number", number)


def network_quantities(network: NetworkResult) -> Iterator[Quantity]:
    """Units, shells, roles of anions and links; fractions in percent."""
    for former, number in network.four_coordinate.items():
        yield _share(f"four_coordinate.{former}", f"{former} with exactly four anions", number)
    for former, number in network.mean_coordination.items():
        yield Quantity.of_estimate(f"mean_coordination.{former}", f"anions around {former}", number)
    yield Quantity.of_estimate("mean_n", "mean number of bridging anions per former", network.mean_bridging)
    yield Quantity(
        key="expected_mean_n",
        label="mean number of bridging anions that the cell's composition gives",
        unit="anions",
        value=network.expected_mean_bridging,
    )
    for former, units in network.units.items():
        for n, number in units.items():
            yield _share(f"unit.{former}.n{n}", f"{former} with {n} bridging anions", number)
    for former, split in network.units_by_anion.items():
        for bridges, number in split.items() if len(network.anions) > 1 else ():
            label = (
                f"{former} whose bridging anions are {bridges}" if bridges != "none" else f"{former} without bridges"
            )
            yield _share(f"unit_by_anion.{former}.{bridges}", label, number)
    for former, shells in network.shells.items():
        for shell, number in shells.items():
            yield _share(f"shell.{former}.{shell}", f"{former} that are {shell}", number)
    for anion, roles in network.anions.items():
        for role, number in roles.items():
            yield _share(f"anion.{anion}.{role}", f"{role} {anion}", number)
    for anion, number in network.bridge_shares.items():
        yield _share(f"bridge_share.{anion}", f"share of {anion} in the bridges", number)
    for pair, number in network.homopolar.items():
        yield Quantity.of_estimate(f"homopolar.{pair}", f"{pair} bonds", number)
    for kind, number in network.sharing.items():
        yield Quantity.of_estimate(f"sharing.{kind}", f"{kind}-sharing pairs of formers", number)
    for cause, number in network.deviations.items():
        yield Quantity.of_estimate(f"deviation.{cause}", f"mean n, change by {_CAUSES[cause]}", number)
    yield Quantity(
        key="residual.bookkeeping",
        label="largest error of the bookkeeping of bonds",
        unit="bonds",
        value=float(network.bookkeeping_residual),
    )


_CAUSES = {
    "homopolar": "bonds between formers",
    "coordination": "shells larger or smaller than they should be",
    "isolated": "isolated anions",
    "tricluster": "anions with three formers",
}


def _share(key: str, label: str, number: Estimate) -> Quantity:
    return Quantity.of_estimate(key, label, number.scaled(100, "%"))
