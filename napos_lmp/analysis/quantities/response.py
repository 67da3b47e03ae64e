"""Elastic and thermal response as quantities with keys, for `analysis.json`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.response.elastic import LABELS, ElasticResult
from napos_lmp.analysis.response.thermal import CoolingCurve, GlassTransition, Property, ThermalExpansion
from napos_lmp.analysis.results import Quantity
from napos_lmp.errors import AnalysisError

_MODULI = {
    "bulk": "bulk modulus",
    "shear": "shear modulus",
    "young": "Young's modulus",
    "poisson": "Poisson's ratio",
}


def elastic_quantities(relaxed: ElasticResult, clamped: ElasticResult | None = None) -> Iterator[Quantity]:
    """Moduli, elastic constants and what they are worth; of clamped atoms, the moduli alone."""
    notes = "; ".join(relaxed.notes)
    for name, label in _MODULI.items():
        found = Quantity.of_estimate(f"elastic.{name}", label, getattr(relaxed, name))
        yield found.model_copy(update={"note": "; ".join(filter(None, (found.note, notes)))})
    for i in range(6):
        for j in range(i, 6):
            yield Quantity(
                key=f"elastic.C{i + 1}{j + 1}",
                label=f"elastic constant C{i + 1}{j + 1} ({LABELS[i]}, {LABELS[j]})",
                unit="GPa",
                value=float(relaxed.stiffness[i, j]),
                low=float(relaxed.low[i, j]) if np.isfinite(relaxed.low[i, j]) else None,
                high=float(relaxed.high[i, j]) if np.isfinite(relaxed.high[i, j]) else None,
                level=relaxed.bulk.level,
            )
    pressure = -float(relaxed.reference_stress[:3].mean())
    for key, label, unit, value in (
        ("anisotropy", "universal anisotropy index", "", relaxed.anisotropy),
        ("asymmetry", "asymmetry of the elastic constants as measured", "%", 100 * relaxed.asymmetry),
        ("smallest_eigenvalue", "smallest eigenvalue of the stiffness", "GPa", float(relaxed.eigenvalues[0])),
        ("reference_pressure", "pressure of the cell before it is strained", "GPa", pressure),
    ):
        yield Quantity(key=f"elastic.{key}", label=label, unit=unit, value=value)
    if clamped is not None:
        for name in ("bulk", "shear"):
            yield Quantity.of_estimate(
                f"elastic.clamped.{name}", f"{_MODULI[name]} with atoms that move along", getattr(clamped, name)
            )


def thermal_quantities(curve: CoolingCurve) -> Iterator[Quantity]:
    """Tg by volume and by enthalpy with the slopes on both sides of it; where there is none, the slope of the whole."""
    yield Quantity(key="cooling.rate", label="cooling rate", unit="K/ps", value=curve.rate)
    for quantity in _SLOPES:
        yield from _slopes(curve, quantity)


_SLOPES: dict[Property, tuple[str, str, str]] = {
    "volume": ("expansion", "volumetric thermal expansion", "1/K"),
    "enthalpy": ("heat_capacity", "heat capacity at constant pressure, of a mole of atoms", "J/(mol K)"),
}


def _slopes(curve: CoolingCurve, quantity: Property) -> Iterator[Quantity]:
    key, label, unit = _SLOPES[quantity]
    own_key = "glass_transition" if quantity == "volume" else f"glass_transition.{quantity}"
    name = own_key, f"glass transition by {quantity}", "K"
    try:
        found = GlassTransition(curve, quantity).run()
    except AnalysisError as error:
        yield refused(*name, str(error))
    else:
        yield Quantity.of_estimate(*name[:2], found.transition)
        yield Quantity.of_estimate(f"{key}.glass", f"{label}, below Tg", found.glass)
        yield Quantity.of_estimate(f"{key}.liquid", f"{label}, above Tg", found.liquid)
        return
    try:
        line = ThermalExpansion(curve, quantity).run()
    except AnalysisError as error:
        yield refused(key, label, unit, str(error))
        return
    slope = line.volumetric if quantity == "volume" else line.heat_capacity
    assert slope is not None
    yield Quantity.of_estimate(key, f"{label}, {line.window[0]:.0f} to {line.window[1]:.0f} K", slope)
