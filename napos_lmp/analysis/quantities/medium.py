"""Rings, clusters, environments, cavities and density profiles as quantities with keys, for `analysis.json`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.network.clusters import ClusterResult
from napos_lmp.analysis.network.environments import EnvironmentResult
from napos_lmp.analysis.network.rings import RingResult
from napos_lmp.analysis.results import Quantity
from napos_lmp.analysis.space.cavities import CavityResult
from napos_lmp.analysis.space.density_profile import DensityProfileResult

_MOST_RINGS = 30
_FEWEST_SHARE = 0.005


def ring_quantities(rings: RingResult) -> Iterator[Quantity]:
    """Rings of the sizes that occur, those a former is in, and formers in none; at most 40 in all."""
    for former, number in rings.in_none.items():
        label = f"{former} in no ring of up to {rings.max_size} formers"
        yield _share(f"rings.{former}.none", label, number)
    sizes = [size for size, number in rings.rings.items() if number.value > 0]
    for size in sizes:
        yield Quantity.of_estimate(f"rings.size{size}", f"rings of {size} formers", rings.rings[size])
    left = max(0, _MOST_RINGS - len(sizes))
    for size in sizes[: left // max(1, len(rings.per_former))]:
        for former, numbers in rings.per_former.items():
            yield Quantity.of_estimate(
                f"rings.{former}.size{size}", f"rings of {size} that a {former} is in", numbers[size]
            )


def cluster_quantities(clusters: ClusterResult) -> Iterator[Quantity]:
    """Sizes of clusters and percolation; small clusters one by one, those of seven formers or more by their sum."""
    sizes = clusters.sizes
    for size in range(1, 7):
        if size in sizes:
            yield _share(f"clusters.size{size}", f"formers in clusters of {size}", sizes[size])
    rows = (
        ("number", "clusters", clusters.per_100_formers),
        ("number_average", "formers of the mean cluster", clusters.number_average),
        ("weight_average", "formers of the cluster that the mean former is in", clusters.weight_average),
        ("weight_average_anions", "anions of the cluster that the mean former is in", clusters.anions_weight_average),
    )
    for name, label, number in rows:
        yield Quantity.of_estimate(f"clusters.{name}", label, number)
    yield _share("clusters.largest", "formers in the largest cluster", clusters.largest)
    yield _share("clusters.largest_anions", "anions in the largest cluster", clusters.largest_anions)
    yield _share("clusters.isolated_anions", "anions in no cluster", clusters.isolated_anions)
    yield _share("clusters.percolating", "frames with an endless cluster", clusters.percolating)
    for dimension, number in clusters.percolation.items():
        if dimension:
            label = f"frames whose network is endless in {dimension} direction{'s' if dimension > 1 else ''}"
            yield _share(f"clusters.percolating.{dimension}d", label, number)


def environment_quantities(environment: EnvironmentResult) -> Iterator[Quantity]:
    """Coordination of an ion (common numbers only), roles of its neighbours, clustering and Voronoi cells."""
    start, centre = f"environment.{environment.centre}", environment.centre
    for name, number in environment.coordination.items():
        yield Quantity.of_estimate(f"{start}.coordination.{name.replace(' ', '_')}", f"{name} around {centre}", number)
    total = list(environment.distribution)[-1]
    for k, number in environment.distribution[total].items():
        if number.value >= _FEWEST_SHARE:
            yield _share(f"{start}.with{k}", f"{centre} with {k} anions around", number)
    for anion, roles in environment.by_role.items():
        for role, number in roles.items():
            yield Quantity.of_estimate(f"{start}.{anion}.{role}", f"{role} {anion} around {centre}", number)
    for anion, number in environment.bridging_share.items():
        yield _share(f"{start}.{anion}.bridging_share", f"bridging ones among the {anion} around {centre}", number)
    yield Quantity.of_estimate(f"{start}.like", f"{centre} around {centre}", environment.like)
    yield Quantity.of_estimate(
        f"{start}.clustering", f"pairs of {centre} in the first shell, against random points", environment.clustering
    )
    label = f"pairs of {centre} in the first shell outside the core, against random points"
    yield Quantity.of_estimate(f"{start}.clustering_outside_core", label, environment.clustering_outside_core)
    if environment.voronoi is not None:
        cells = environment.voronoi
        yield Quantity.of_estimate(f"{start}.voronoi_volume", f"Voronoi cell of {centre}", cells.volume)
        for element, number in cells.surface.items():
            label = f"surface of the Voronoi cell of {centre} that faces {element}"
            yield _share(f"{start}.voronoi_surface.{element}", label, number)


def cavity_quantities(cavities: CavityResult) -> Iterator[Quantity]:
    """Free volume and cavities."""
    probe = f"a probe of {cavities.probe_radius:g} Å"
    yield _share("cavity.free", "volume outside of the atoms", cavities.free)
    yield _share("cavity.accessible", f"volume for the centre of {probe}", cavities.accessible)
    yield _share("cavity.fraction", f"volume that {probe} can cover", cavities.occupiable)
    yield Quantity.of_estimate("cavity.number", f"cavities for {probe}", cavities.cavities)
    yield Quantity.of_estimate("cavity.volume", "mean volume of a cavity", cavities.cavity_volume)
    yield Quantity.of_estimate("cavity.largest_volume", "volume of the largest cavity", cavities.largest_volume)
    yield _share("cavity.largest_share", "share of the largest cavity in all", cavities.largest_share)
    yield Quantity.of_estimate(
        "cavity.largest_radius", "largest sphere between the atoms, radius", cavities.largest_radius
    )
    error = 100 * cavities.grid_error["occupiable"]
    label = f"standard error of the volume that {probe} can cover, by the grid, in one frame"
    yield Quantity(key="cavity.grid_error", label=label, unit="%", value=error)


def density_profile_quantities(profile: DensityProfileResult) -> Iterator[Quantity]:
    """How uneven the layers are: standard deviation over mean of each element's and of the mass density."""
    for name, density in {**profile.number, "mass": profile.mass}.items():
        label = f"{name} in layers across {profile.axis}, standard deviation over mean"
        note = f"{len(density.value)} layers, {profile.n_frames} frames; the noise of counting is part of it"
        uneven = 100 * float(np.std(density.value) / np.mean(density.value))
        yield Quantity(key=f"density_profile.{profile.axis}.{name}", label=label, unit="%", value=uneven, note=note)


def _share(key: str, label: str, number: Estimate) -> Quantity:
    return Quantity.of_estimate(key, label, number.scaled(100, "%"))
