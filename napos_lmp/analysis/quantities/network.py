"""Quantities of links, anion groups and bond angles, for `analysis.json`; shares in percent."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napos_lmp.analysis.network.angles import BondAnglesResult
from napos_lmp.analysis.network.groups import AnionGroupsResult
from napos_lmp.analysis.network.linkages import LinkagesResult
from napos_lmp.analysis.results import Quantity

MOST_GROUPS = 16
_LEAST_SHARE = 0.002


def linkage_quantities(linkages: LinkagesResult) -> Iterator[Quantity]:
    """Bridges by kind and against random mixing, preference for bridging sites, homopolar chains."""
    yield Quantity.of_estimate("bridges_per_former", "bridges per former", linkages.bridges_per_former)
    for kind, number in linkages.shares.items():
        yield Quantity.of_estimate(f"bridge.{kind}", f"share of bridges that are {kind}", number.scaled(100, "%"))
        if len(linkages.shares) > 1:
            label = f"{kind} bridges over those of random mixing"
            yield Quantity.of_estimate(f"mixing.{kind}", label, linkages.mixing[kind])
    for pair, number in linkages.preference.items():
        key = f"preference.{pair.replace(' over ', '.')}"
        label = f"odds ratio for bridging sites, {pair}"
        if math.isfinite(number.value):
            yield Quantity.of_estimate(key, label, number)
    for element, chains in linkages.chains.items():
        for length, number in chains.items():
            label = f"chains of {length} {element} bonded to each other"
            yield Quantity.of_estimate(f"chain.{element}.{length}", label, number)


def group_quantities(groups: AnionGroupsResult) -> Iterator[Quantity]:
    """The most frequent anion groups: share of formers in them, or number where they hold no former."""
    shown = [group for group in groups.groups if group.share_of_formers.value >= _LEAST_SHARE]
    for group in shown[:MOST_GROUPS]:
        label = f"formers in {group.name} groups"
        yield Quantity.of_estimate(f"group.{group.name}", label, group.share_of_formers.scaled(100, "%"))
    for group in groups.groups:
        if group.share_of_formers.value == 0:
            yield Quantity.of_estimate(f"free_anion.{group.name}", f"free {group.name}", group.per_100_formers)


def angle_quantities(angles: BondAnglesResult) -> Iterator[Quantity]:
    """Means and widths of the angles, and the tetrahedral order parameter."""
    for kind, found in (angles.inside | angles.bridges).items():
        yield Quantity.of_estimate(f"angle.{kind}", f"{kind} angle", found.mean)
        yield Quantity.of_estimate(f"angle_width.{kind}", f"{kind} angle, standard deviation", found.width)
    for former, number in angles.mean_order.items():
        yield Quantity.of_estimate(f"tetrahedral_order.{former}", f"tetrahedral order parameter of {former}", number)
