"""What to distrust: every reason to doubt the numbers that can be read off the decks and their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from napos_lmp.report.collect import DeckView, Glass, StudyView
from napos_lmp.report.extrapolation import extrapolation_caveat
from napos_lmp.report.html import Caveat
from napos_lmp.report.numbers import superscript
from napos_lmp.structure import estimate_density

EXPERIMENTAL_QUENCH = 1.0
"""Cooling rate of a glass poured from the melt, K/s, as an order of magnitude."""

_FEW_ATOMS = 1000
_SHORT_RUN_PS = 500.0
_DENSITY_DOUBT = 0.05
_FOUR_COORDINATE = 90.0
_TEMPERATURE_DOUBT = 0.02
_PS_PER_S = 1e12


def caveats(study: StudyView) -> tuple[Caveat, ...]:
    """All caveats that apply to a study, the weightiest first."""
    checks: tuple[Callable[[StudyView], Caveat | None], ...] = (
        _missing, _changed, _potential, _domain, extrapolation_caveat, _suspicious, _quench, _size, _duration,
        _replicas, _above_transition, _nernst_einstein, _temperature, _refusals, _holes,
    )  # fmt: skip
    return tuple(caveat for check in checks if (caveat := check(study)) is not None)


def _missing(study: StudyView) -> Caveat | None:
    said = [f"{deck.name}: {deck.status}; {deck.reason}." for deck in study.incomplete]
    said += [f"{name}: its folder is gone." for name in study.absent]
    if not said:
        return None
    count = len(said)
    total = len(study.decks) + len(study.absent)
    return Caveat("Decks without a complete result", tuple(said), f"{count} of {total} decks are missing or incomplete")


def _changed(study: StudyView) -> Caveat | None:
    said = [f"{deck.name}: {', '.join(deck.changed)}." for deck in study.decks if deck.changed]
    if not said:
        return None
    head = "These files differ from what was rendered, so the protocol given below may not be what was run."
    return Caveat("Decks changed by hand", (head, *said), f"{_count(len(said), 'deck')} changed by hand")


def _potential(study: StudyView) -> Caveat | None:
    said: list[str] = []
    forces: dict[str, float] = {}
    for name, card in _cards(study).items():
        theory = card.get("training_data", {}).get("level_of_theory", "unknown")
        said.append(f"Potential {name}: its reference labels are {theory}.")
        errors = [entry for entry in card.get("errors", ()) if entry.get("force_meV_per_A")]
        said.extend(
            f"Against those labels, on the set '{entry['set']}' ({entry['frames']} frames), its errors are "
            f"{entry['energy_meV_per_atom']['rmse']:.1f} meV/atom in energy and "
            f"{entry['force_meV_per_A']['rmse']:.0f} meV/Å in forces (root mean square)."
            for entry in errors
        )
        if not errors:
            said.append(f"The card of {name} gives no test errors.")
        else:
            forces[name] = errors[-1]["force_meV_per_A"]["rmse"]
        said.extend(str(limit) for limit in card.get("limits", ()))
    return Caveat("The potential", tuple(dict.fromkeys(said)), _force_errors(forces))


def _force_errors(forces: dict[str, float]) -> str:
    """One error, or those of several potentials by name."""
    if len(forces) < 2:
        return "".join(f"the potential's force error is {error:.0f} meV/Å" for error in forces.values())
    listed = ", ".join(f"{error:.0f} meV/Å ({name})" for name, error in forces.items())
    return f"the potentials' force errors are {listed}"


def _domain(study: StudyView) -> Caveat | None:
    said: dict[str, None] = {}
    for glass in study.glasses:
        for deck in glass.decks:
            domain = deck.manifest.potential.card.get("domain") or {}
            said |= dict.fromkeys(_outside_temperature(deck, domain.get("temperature_K")))
            said |= dict.fromkeys(_outside_density(glass, deck, domain.get("density_g_cm3")))
    if not said:
        return None
    return Caveat("Outside of the training data", tuple(said), "the potential was used outside of its training data")


def _outside_temperature(deck: DeckView, limits: Any) -> Iterable[str]:
    used = [t for s in deck.dynamics for t in (s.temperature_start_K, s.temperature_stop_K) if t is not None]
    if limits and used and (min(used) < limits[0] or max(used) > limits[1]):
        yield (
            f"{deck.name} runs from {min(used):.0f} to {max(used):.0f} K; the training data of "
            f"{deck.manifest.potential.name} span {limits[0]:.0f} to {limits[1]:.0f} K."
        )


def _outside_density(glass: Glass, deck: DeckView, limits: Any) -> Iterable[str]:
    found = deck.result.get("density") if deck.result else None
    if limits and found is not None and found.value is not None and not limits[0] <= found.value <= limits[1]:
        yield (
            f"{deck.name} has a density of {found.value:.2f} g/cm³; the training data of "
            f"{deck.manifest.potential.name} span {limits[0]:.2f} to {limits[1]:.2f} g/cm³."
        )


def _suspicious(study: StudyView) -> Caveat | None:
    """Results that a good potential and protocol would not give."""
    said: list[str] = []
    for glass in study.glasses:
        said.extend(_suspicious_density(glass))
        for key in glass.keys("four_coordinate."):
            found = glass.coldest(key)
            if found and found[1].value is not None and found[1].value < _FOUR_COORDINATE:
                said.append(
                    f"{glass.label}: {found[1].full_text} of {key.rpartition('.')[2]} at {found[0]:.0f} K have four "
                    f"S/O neighbours; all should."
                )
        residual = glass.coldest("residual.bookkeeping")
        if residual and residual[1].value:
            said.append(
                f"{glass.label}: the bookkeeping of bonds is off by {residual[1].full_text}: a fault of the program."
            )
        for key in glass.keys("homopolar."):
            found = glass.coldest(key)
            if found and found[1].value is not None and found[1].value > 1.0:
                said.append(
                    f"{glass.label}: {found[1].text} {key.rpartition('.')[2]} bonds per 100 network formers at "
                    f"{found[0]:.0f} K; melts cooled this fast keep such defects, and a rough potential makes them."
                )
    if not said:
        return None
    return Caveat("Results that look wrong", tuple(said), f"{_count(len(said), 'result')} beyond what is plausible")


def _suspicious_density(glass: Glass) -> Iterable[str]:
    if glass.composition is None or not glass.composition.formers:
        return
    found = glass.coldest("density")
    if found is None or found[1].value is None:
        return
    estimate = estimate_density(glass.composition)
    off = found[1].value / estimate.value - 1
    if abs(off) > max(_DENSITY_DOUBT, 2 * estimate.uncertainty / estimate.value):
        yield (
            f"{glass.label}: the density at {found[0]:.0f} K is {found[1].full_text}, {100 * abs(off):.0f} % "
            f"{'above' if off > 0 else 'below'} the estimate from measured glasses, {estimate.value:.2f} ± "
            f"{estimate.uncertainty:.2f} g/cm³."
        )


def _quench(study: StudyView) -> Caveat | None:
    rates = sorted({round(rate, 6) for deck in study.decks for rate in deck.quench_rates})
    if not rates:
        return None
    span = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
    power = round(math.log10(rates[0] * _PS_PER_S / EXPERIMENTAL_QUENCH))
    text = (
        f"The melts were cooled at {span} K/ps, about 10{superscript(power)} times faster than a glass in the "
        f"laboratory (about {EXPERIMENTAL_QUENCH:g} K/s). Such a glass is frozen in at a higher fictive temperature: "
        "expect more disproportionation, more defects and too high a conductivity."
    )
    return Caveat("Quench rate", (text,), f"the melt was quenched at {span} K/ps")


def _size(study: StudyView) -> Caveat | None:
    few = {glass.label: glass.decks[0].manifest.structure for glass in study.glasses}
    few = {label: record for label, record in few.items() if record.n_atoms < _FEW_ATOMS}
    if not few:
        return None
    said = [
        f"{label}: {record.n_atoms} atoms, of which {_formers(record.counts)}; one network former is "
        f"{_share(record.counts)} of all."
        for label, record in few.items()
    ]
    said.append(
        "Fractions move in such steps, medium-range order longer than half the cell is cut off, and diffusion in small "
        "periodic cells is biased."
    )
    smallest = min(record.n_atoms for record in few.values())
    return Caveat("Few atoms", tuple(said), f"cells hold as few as {smallest} atoms")


def _duration(study: StudyView) -> Caveat | None:
    runs = [(d, d.duration(s)) for d in study.decks for s in d.dynamics if s.kind == "produce"]
    if not runs:
        return Caveat("No production run", ("No stage of any deck is a production.",))
    shortest, longest = min(runs, key=lambda run: run[1]), max(runs, key=lambda run: run[1])
    if shortest[1] >= _SHORT_RUN_PS:
        return None
    span = f"{shortest[1]:g} ps" if shortest[1] == longest[1] else f"{shortest[1]:g} to {longest[1]:g} ps"
    text = (
        f"Productions last {span}. Motion slower than that is not seen, and intervals within a run know nothing of it."
    )
    return Caveat("Short runs", (text,), f"productions last {span}")


def _replicas(study: StudyView) -> Caveat | None:
    single = [glass.label for glass in study.glasses if len(glass.seeds) == 1]
    if not single:
        return None
    text = (
        f"{', '.join(single)}: a single glass from a single seed. Intervals are within that one run; how much one "
        "glass differs from the next is not known, and is usually more."
    )
    return Caveat("One seed", (text,), "there is one replica of each glass" if len(single) > 1 else "one replica")


def _above_transition(study: StudyView) -> Caveat | None:
    hot = sorted({t for glass in study.glasses for t in glass.temperatures("conductivity") if t > 450})
    if not hot:
        return None
    text = (
        f"Conductivities were measured at {', '.join(f'{t:.0f}' for t in hot)} K. Sodium thiophosphate glasses soften "
        "near 455 to 460 K and NaPO3 near 550 to 565 K (experiment, SciGlass): above that the network itself moves, "
        "and a line through these points does not lead to the glass at room temperature."
    )
    return Caveat("Conductivity above the glass transition", (text,), "conductivities are above the glass transition")


def _nernst_einstein(study: StudyView) -> Caveat | None:
    if not any(glass.temperatures("conductivity") for glass in study.glasses):
        return None
    text = (
        "The conductivity is Nernst-Einstein's: every ion is taken to move on its own. Correlated motion (Haven "
        "ratio) is left out; it can change the value by a factor of two or more."
    )
    return Caveat("Nernst-Einstein", (text,))


def _temperature(study: StudyView) -> Caveat | None:
    said = [
        f"{deck.name}, {stage.stage}: {stage.measured_temperature_K:.0f} K measured, {stage.temperature_K:.0f} K asked."
        for deck in study.decks
        for stage in (deck.result.stages if deck.result else ())
        if stage.measured_temperature_K is not None
        and stage.temperature_K
        and abs(stage.measured_temperature_K / stage.temperature_K - 1) > _TEMPERATURE_DOUBT
    ]
    return Caveat("Temperature off its target", tuple(said)) if said else None


def _refusals(study: StudyView) -> Caveat | None:
    said: dict[str, list[str]] = {}
    for deck in study.decks:
        for stage in deck.result.stages if deck.result else ():
            for what, reason in stage.refusals.items():
                said.setdefault(f"{what}: {reason}", []).append(deck.name)
            for quantity in stage.quantities:
                if quantity.refused and quantity.key in ("conductivity", "density"):
                    said.setdefault(f"{quantity.label}: {quantity.refused}", []).append(f"{deck.name} ({stage.stage})")
    if not said:
        return None
    return Caveat("Measurements that were refused", tuple(f"{', '.join(w)}: {text}." for text, w in said.items()))


def _holes(study: StudyView) -> Caveat | None:
    said = [
        f"{deck.name}: {message}."
        for deck in study.decks
        for stage in (deck.result.stages if deck.result else ())
        for message in stage.messages
    ]
    return Caveat("Frames that are missing or were dropped", tuple(said)) if said else None


def _cards(study: StudyView) -> dict[str, dict[str, Any]]:
    return {deck.manifest.potential.name: deck.manifest.potential.card for deck in study.decks}


def _formers(counts: dict[str, int]) -> str:
    return " and ".join(f"{n} {e}" for e, n in counts.items() if e in ("P", "Si", "B", "Ge")) or "no network former"


def _share(counts: dict[str, int]) -> str:
    formers = sum(n for e, n in counts.items() if e in ("P", "Si", "B", "Ge"))
    return f"{100 / formers:.1f} %" if formers else "none"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
