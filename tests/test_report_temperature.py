"""Conductivity over temperature in the report: fits of several glasses, experiment beside them, and refusals."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napos_lmp.analysis.results import DeckResult, Quantity, StageResult
from napos_lmp.experiment import experiment_values
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.html import Figure, Tabular, Text
from napos_lmp.report.temperature import (
    activation_energy,
    arrhenius_table,
    conductivity_at,
    glass_transition,
    measured_conductivities,
    temperature_blocks,
)

KB = 8.617333262e-5


def deck_at(temperature, seed, values, protocol="diffusion-0700K"):
    quantities = tuple(
        Quantity(key=key, label=key, unit=unit, value=v, low=v / 1.2, high=v * 1.2) for key, (v, unit) in values.items()
    )
    stage = StageResult(stage="03-produce", kind="produce", temperature_K=temperature, quantities=quantities)
    result = DeckResult(
        program_version="0", label="", formula="", seed=seed, manifest_sha256="", inputs={}, last_step=1,
        complete=True, stages=(stage,),
    )  # fmt: skip
    manifest = SimpleNamespace(seed=seed, protocol={"name": protocol})
    return DeckView(Path(), f"{temperature}-{seed}", manifest, None, result, "complete", "", ())


def glass_of(temperatures, seeds=(1,), formula="Na4P2S7", energy=0.35, spread=0.0, extra=()):
    rng = np.random.default_rng(1)
    factors = np.exp(spread * rng.normal(size=len(seeds)))
    decks = [
        deck_at(t, seed, {"conductivity": (factor * 1.5e4 / t * np.exp(-energy / (KB * t)), "S/cm")})
        for t in temperatures
        for seed, factor in zip(seeds, factors, strict=True)
    ]
    return Glass(formula, formula, "glass-1", (*decks, *extra))


def rows(table):
    return dict(table.rows)


def test_table_of_several_glasses():
    glass = glass_of([500, 600, 700, 800, 900], seeds=(1, 2, 3), spread=0.3)
    table = arrhenius_table(glass)
    found = rows(table)
    assert found["Activation energy"].value == pytest.approx(0.35, rel=1e-6)
    assert "how 3 glasses differ" in found["Activation energy"].note
    assert found["Glasses differ in σ by"].value > 5
    assert found["Conductivity at 300 K"].refused.startswith("the points cannot tell Arrhenius from VTF")
    conditional = found["The same if the Arrhenius law holds to 300 K"]
    assert conditional.low < conditional.value < conditional.high
    assert activation_energy(glass).value == pytest.approx(0.35, rel=1e-6)
    assert conductivity_at(glass, 293.15).value < conditional.value


def test_conductivities_with_correlations_have_a_law_of_their_own():
    def both(t):
        values = {"conductivity": 0.35, "conductivity.collective": 0.30}
        return {key: (1.5e4 / t * np.exp(-energy / (KB * t)), "S/cm") for key, energy in values.items()}

    glass = Glass("Na4P2S7", "Na4P2S7", "glass-1", tuple(deck_at(t, 1, both(t)) for t in (600, 800, 1000)))
    found = rows(arrhenius_table(glass))
    assert found["Activation energy"].value == pytest.approx(0.35)
    assert found["Activation energy, Einstein-Helfand"].value == pytest.approx(0.30)
    assert "Activation energy, Green-Kubo" not in found
    figure = next(block for block in temperature_blocks(glass) if isinstance(block, Figure))
    assert "Einstein-Helfand" in figure.svg
    assert "Green-Kubo" not in figure.svg


def test_a_longer_run_without_a_value_does_not_hide_a_shorter_one_with_it():
    def at_300(frames, **found):
        deck = deck_at(300, 1, {})
        quantity = Quantity(key="density", label="density", unit="g/cm^3", **found)
        stage = deck.result.stages[0].model_copy(update={"quantities": (quantity,), "used_frames": frames})
        return replace(deck, result=deck.result.model_copy(update={"stages": (stage,)}))

    short, long = at_300(10, value=1.9, low=1.8, high=2.0), at_300(90, value=2.0, low=1.9, high=2.1)
    refused = at_300(500, value=None, refused="no stage is at constant pressure")
    for decks in ((short, long, refused), (refused, long, short)):
        assert Glass("a", "a", "glass-1", decks).number("density", 300).value == 2.0
    assert Glass("a", "a", "glass-1", (refused,)).number("density", 300).refused


def test_experiment_lies_beside_the_simulation():
    glass = glass_of([500, 700, 900])
    temperatures, numbers = measured_conductivities(glass)
    assert temperatures.min() == pytest.approx(293.15)
    assert any(number.value == pytest.approx(10**-5.357) for number in numbers)
    blocks = list(temperature_blocks(glass))
    figure = next(block for block in blocks if isinstance(block, Figure))
    assert "open: experiment" in figure.caption
    bare = next(block for block in temperature_blocks(glass, ()) if isinstance(block, Figure))
    assert "experiment" not in bare.caption
    assert len(figure.svg) > len(bare.svg)
    assert any(isinstance(block, Tabular) for block in blocks)


def test_glass_transition_of_experiment_and_of_the_simulation():
    glass = glass_of([500, 700, 900])
    assert glass_transition(glass) == pytest.approx(460.15)
    said = [block.text for block in temperature_blocks(glass) if isinstance(block, Text)]
    assert said[0].startswith("All values are of the melt: the glass transition, 460 K, lies between them and 300 K")
    own = deck_at(300.0, 1, {"glass_transition": (640.0, "K")})
    simulated = glass_of([500, 700, 900], extra=(own,))
    assert glass_transition(simulated) == 640.0
    said = [block.text for block in temperature_blocks(simulated) if isinstance(block, Text)]
    assert "The glass transition, 640 K, lies inside the range of 500 to 900 K" in said[0]
    assert glass_transition(glass, ()) is None
    assert len(experiment_values()) > 0


def test_one_temperature_gets_one_sentence():
    (block,) = temperature_blocks(glass_of([700]))
    assert block.text == (
        "No temperature dependence: an Arrhenius fit needs the conductivity at two temperatures; "
        "it is known at 700 K only."
    )
    assert list(temperature_blocks(glass_of([]))) == []


def test_runs_of_one_glass_count_as_one_in_the_mean_and_one_by_one_in_the_fit():
    first = {"conductivity": (1e-3, "S/cm")}
    again = {"conductivity": (4e-3, "S/cm")}
    decks = (deck_at(700, 1, first), deck_at(700, 1, again, "diffusion-0700K-v2"), deck_at(700, 2, first))
    glass = Glass("Na4P2S7", "Na4P2S7", "glass-1", decks)
    found = glass.measurements("conductivity")
    assert [m.number.value for m in found] == [pytest.approx(2e-3), pytest.approx(1e-3)]
    assert found[0].number.high == pytest.approx(2e-3 * 1.2 ** (1 / 2**0.5))
    assert "mean of 2 runs of one glass" in found[0].number.note
    assert glass.number("conductivity", 700).basis == "between 2 replicas"
