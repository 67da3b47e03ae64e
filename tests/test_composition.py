"""Formulas, neutrality, network quantities and integer cells."""

from __future__ import annotations

import itertools
import operator
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napos_lmp.composition import FORMAL_CHARGES, Composition, expand_series
from napos_lmp.errors import CompositionError, NaposError
from napos_lmp.formula import parse_formula

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

F = Fraction
COMPONENTS = {
    "Na2S": {"Na": 2, "S": 1},
    "Na2O": {"Na": 2, "O": 1},
    "P2S5": {"P": 2, "S": 5},
    "P2O5": {"P": 2, "O": 5},
    "B2S3": {"B": 2, "S": 3},
    "SiO2": {"Si": 1, "O": 2},
    "GeS2": {"Ge": 1, "S": 2},
}
amounts = st.fractions(min_value=F(1, 50), max_value=50, max_denominator=60)
decimals = st.integers(1, 999).map(lambda n: F(n, 100))
joins = st.lists(st.tuples(decimals, st.sampled_from(sorted(COMPONENTS))), min_size=1, max_size=5)


def plain(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def summed(parts: list[tuple[Fraction, str]]) -> dict[str, Fraction]:
    total: dict[str, Fraction] = {}
    for factor, name in parts:
        for element, n in COMPONENTS[name].items():
            total[element] = total.get(element, F(0)) + factor * n
    return total


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Na4P2S7", {"Na": 4, "P": 2, "S": 7}),
        ("Na4P2S5.5O1.5", {"Na": 4, "P": 2, "S": F(11, 2), "O": F(3, 2)}),
        ("0.65Na2S+0.35P2S5", {"Na": F(13, 10), "P": F(7, 10), "S": F(12, 5)}),
        (" 65 Na2S + 35 * P2S5 ", {"Na": 130, "P": 70, "S": 240}),
        ("0.65Na2S+0.35[0.4B2S3+0.6P2S5]", {"Na": F(13, 10), "P": F(21, 50), "B": F(7, 25), "S": F(53, 25)}),
        ("0.5Na2S + 0.5(0.7GeS2 + 0.3PS5/2)", {"Na": 1, "P": F(3, 20), "Ge": F(7, 20), "S": F(63, 40)}),
        ("1/3Na2S+2/3SiS2", {"Na": F(2, 3), "Si": F(2, 3), "S": F(5, 3)}),
        ("Na2S·P2S5", {"Na": 2, "P": 2, "S": 6}),
        ("Na₄P₂S₇", {"Na": 4, "P": 2, "S": 7}),
        ("Na6(PS4)2", {"Na": 6, "P": 2, "S": 8}),
        ("Na4P2S7O0", {"Na": 4, "P": 2, "S": 7}),
        ("0.5×Na2O + .5 P2O5", {"Na": 1, "P": 1, "O": 3}),
    ],
)
def test_texts_read_as_exact_amounts(text, expected):
    assert Composition.parse(text).amounts == expected


def test_formula_orders_modifiers_formers_and_anions():
    assert Composition.parse("O2S5P2Na4").formula == "Na4P2S5O2"
    assert Composition.parse("0.65Na2S+0.35P2S5").formula == "Na1.3P0.7S2.4"
    assert Composition.parse("1/3Na2S+2/3SiS2").formula == "Na2/3Si2/3S5/3"
    assert Composition.parse("Li2S", {"Li": 1}).formula == "Li2S"


@given(st.dictionaries(st.sampled_from(sorted(FORMAL_CHARGES)), amounts, min_size=1))
def test_formula_reads_back_to_the_same_amounts(given_amounts):
    composition = Composition(given_amounts, FORMAL_CHARGES)
    assert composition.amounts == given_amounts
    assert parse_formula(composition.formula) == given_amounts
    assert sum(composition.mole_fractions.values()) == 1


@given(joins)
def test_joins_add_up_and_stay_neutral(parts):
    text = " + ".join(f"{float(factor)!r}{name}" for factor, name in parts)
    composition = Composition.parse(text)
    assert composition.amounts == summed(parts)
    assert composition.net_charge == 0


@given(joins, decimals, decimals)
def test_brackets_distribute(parts, factor, other):
    inner = "+".join(f"{plain(amount)}{name}" for amount, name in parts)
    nested = Composition.parse(f"{plain(other)}Na2S+{plain(factor)}[{inner}]")
    flat = [(other, "Na2S"), *((factor * amount, name) for amount, name in parts)]
    assert nested.amounts == summed(flat)


def expressions() -> st.SearchStrategy[tuple[str, Fraction | None]]:
    """Arithmetic with its value; None stands for a division by zero."""
    leaf = st.one_of(
        st.just(("x", F(3, 7))), st.integers(0, 30).map(lambda n: (str(n / 4), F(n, 4))), st.just(("0.25", F(1, 4)))
    )

    def combine(children):
        def join(parts):
            (left, a), sign, (right, b) = parts
            if a is None or b is None or (sign == "/" and b == 0):
                return f"({left}){sign}({right})", None
            result = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign](a, b)
            return f"({left}) {sign} ({right})", result

        return st.tuples(children, st.sampled_from("+-*/"), children).map(join)

    return st.recursive(leaf, combine, max_leaves=6)


@given(expressions())
def test_arithmetic_in_braces_is_exact(expression):
    text, value = expression
    if value is None or value <= 0:
        with pytest.raises(CompositionError):
            parse_formula(f"Na{{{text}}}", F(3, 7))
    else:
        assert parse_formula(f"Na{{{text}}}", F(3, 7)) == {"Na": value}


def test_arithmetic_knows_precedence_signs_and_implied_products():
    assert parse_formula("Na{1+2*3-4/2}") == {"Na": 5}
    assert parse_formula("Na{-2+-1*-5}") == {"Na": 3}
    assert parse_formula("Na{8-2-1}S{8/2/2}") == {"Na": 5, "S": 2}
    assert parse_formula("Na{7-2x}", F(1, 2)) == {"Na": 6}


def test_series_over_oxygen_keeps_sodium_and_phosphorus():
    series = expand_series("Na4P2S{7-x}O{x}", [0, 0.5, "3/2", F(7)])
    assert [c.formula for c in series] == ["Na4P2S7", "Na4P2S6.5O0.5", "Na4P2S5.5O1.5", "Na4P2O7"]
    assert {c.modifier_ratio for c in series} == {2.0}


def test_series_over_the_formers_of_a_join():
    series = expand_series("0.65Na2S+0.35[{x}B2S3+{1-x}P2S5]", [0, 0.1, 1])
    assert series[0] == Composition.parse("0.65Na2S+0.35P2S5")
    assert series[1].amounts == {"Na": F(13, 10), "P": F(63, 100), "B": F(7, 100), "S": F(233, 100)}
    assert series[2].formers == ("B",)


def test_equal_compositions_are_equal_keys():
    assert len({Composition.parse("Na4P2S7"), Composition.parse("P2Na4S7"), Composition.parse("Na4P2S6O")}) == 2


@pytest.mark.parametrize(
    ("text", "ratio", "mean_n"),
    [
        ("NaPS3", 1, 2),
        ("Na4P2S7", 2, 1),
        ("Na4P2S5.5O1.5", 2, 1),
        ("Na3PS4", 3, 0),
        ("0.8Na2S+0.2P2S5", 4, 0),
        ("P2O5", 0, 3),
        ("SiO2", 0, 4),
        ("Na2Si2O5", 1, 3),
        ("Na2SiO3", 2, 2),
        ("Na4SiO4", 4, 0),
        ("GeS2", 0, 4),
        ("0.5Na2S+0.5[0.5GeS2+0.5PS5/2]", 2, 1.5),
        ("B2O3", 0, None),
        ("0.65Na2S+0.35[0.4B2S3+0.6P2S5]", 13 / 7, None),
        ("Na2S", None, None),
    ],
)
def test_network_quantities_of_known_compositions(text, ratio, mean_n):
    composition = Composition.parse(text)
    assert composition.modifier_ratio == ratio
    assert composition.expected_mean_n == mean_n


@given(st.fractions(0, 4, max_denominator=40), st.fractions(0, 1, max_denominator=20))
def test_mean_n_is_three_minus_r_for_phosphorus_and_four_minus_r_for_silicon(ratio, oxygen):
    for former, charge, limit in (("P", 5, 3), ("Si", 4, 4), ("Ge", 4, 4)):
        anions = (ratio + charge) / 2
        given_amounts = {"Na": ratio, former: F(1), "S": anions * (1 - oxygen), "O": anions * oxygen}
        composition = Composition({e: a for e, a in given_amounts.items() if a}, FORMAL_CHARGES)
        assert composition.net_charge == 0
        assert composition.expected_mean_n == pytest.approx(max(0, limit - ratio), abs=1e-12)


def test_bridging_anions_follow_the_coordination_of_boron():
    oxide = Composition.parse("B2O3")
    assert oxide.mean_bridging_anions({"B": 3}) == 3
    diborate = Composition.parse("Na2O+2B2O3")
    assert diborate.mean_bridging_anions({"B": 3.5}) == 3.5
    with pytest.raises(CompositionError, match="coordination number of B"):
        diborate.mean_bridging_anions({"P": 4})
    with pytest.raises(CompositionError, match="no network former"):
        Composition.parse("Na2S").mean_bridging_anions({"B": 3})


def test_mean_n_is_unknown_with_homopolar_bonds_or_foreign_anions():
    assert Composition.parse("Na4P2S6", {"P": 4}).expected_mean_n is None
    assert Composition.parse("Na7P2S7Cl", {"P": 4, "Cl": -1}).expected_mean_n is None


def brute_force_error(composition: Composition, size: int) -> Fraction | None:
    """Smallest composition error over every neutral cell of `size` atoms that holds each element."""
    shares = composition.mole_fractions
    best = None
    for counts in itertools.product(range(1, size + 1), repeat=len(shares) - 1):
        last = size - sum(counts)
        numbers = dict(zip(shares, (*counts, last), strict=True))
        if last < 1 or sum(composition.charges[e] * n for e, n in numbers.items()):
            continue
        error = max(abs(F(n, size) - shares[e]) for e, n in numbers.items())
        best = error if best is None else min(best, error)
    return best


@pytest.mark.parametrize("text", ["Na3.97P2S6.985", "0.41Na2S+0.59P2S5", "SiO1.9S0.1", "0.61Na2O+0.39SiO2"])
@pytest.mark.parametrize("size", [17, 24])
def test_cells_have_the_smallest_error_there_is(text, size):
    composition = Composition.parse(text)
    errors = [brute_force_error(composition, n) for n in range(size - 6, size + 7)]
    assert composition.cell(size).composition_error == pytest.approx(float(min(e for e in errors if e is not None)))


@settings(max_examples=60)
@given(joins, st.integers(60, 3000))
def test_cells_are_neutral_whole_and_near_the_wanted_size(parts, n_atoms):
    composition = Composition.parse("+".join(f"{plain(amount)}{name}" for amount, name in parts))
    try:
        cell = composition.cell(n_atoms)
    except CompositionError:
        assert min(composition.mole_fractions.values()) * n_atoms < 3
        return
    assert set(cell.counts) == set(composition.amounts)
    assert min(cell.counts.values()) >= 1
    assert sum(cell.counts.values()) == cell.n_atoms
    assert sum(composition.charges[e] * n for e, n in cell.counts.items()) == 0
    assert abs(cell.n_atoms - n_atoms) <= max(6, n_atoms // 10)
    error = max(abs(F(n, cell.n_atoms) - composition.mole_fractions[e]) for e, n in cell.counts.items())
    assert cell.composition_error == float(error)
    assert error * cell.n_atoms <= 3


def test_exact_cells_are_multiples_of_the_formula():
    cell = Composition.parse("Na4P2S7").cell(400)
    assert (cell.counts, cell.composition_error, cell.n_atoms) == ({"Na": 124, "P": 62, "S": 217}, 0.0, 403)
    assert Composition.parse("Na4P2S5.5O1.5").cell(26).counts == {"Na": 8, "P": 4, "S": 11, "O": 3}


@pytest.mark.parametrize("n_atoms", [0, -5, 2.5, True, 10**9])
def test_cell_sizes_that_make_no_sense_are_refused(n_atoms):
    with pytest.raises(CompositionError, match="n_atoms is"):
        Composition.parse("Na4P2S7").cell(n_atoms)


def test_cells_too_small_for_every_element_say_what_would_do():
    with pytest.raises(CompositionError, match=r"no neutral cell of about 5 atoms .* 118 atoms are exact"):
        Composition.parse("10Na2S+2P2S5+SiO2+B2S3+GeS2+21SiS2").cell(5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("Na0P0", "every amount in it is zero"),
        ("Xx2S", "'Xx' is not a chemical element"),
        ("Fe2S3", "element Fe has no formal charge here .known: Na, P, Si, B, Ge, S, O."),
        ("na2s", "unexpected 'n' at character 1"),
        ("Na4P2S", r"not neutral: net charge \+12 per Na4P2S with Na \+1, P \+5, S -2"),
        ("Na2S2", "net charge -2"),
        ("Na-4P2S7", "amounts must not be negative"),
        ("67Na2S-33P2S5", r"components are joined with '\+'"),
        ("Na2S{1-3}", "amount at character 5 is -2; amounts must not be negative"),
        ("Na2S 0.5P2S5", r"expected '\+' between components"),
        ("Na4P2S7)", r"found '\)' at character 8"),
        ("0.5(Na2S", r"expected '\)', found the end"),
        ("0.5(Na2S]", r"expected '\)', found ']'"),
        ("0.65+P2S5", "expected an element or a bracket"),
        ("Na2S+", "found the end"),
        ("NaS5/0", "divided by zero"),
        ("Na{1/0}", "divided by zero"),
        ("Na4P2S{7-x}O{x}", "x has no value"),
        ("Na{__import__('os')}", "unexpected '_'"),
        ("(" * 60 + "Na", "nested more than 20 deep"),
        ("Na" + "9" * 60, "more than 30 digits"),
        ("Na2S+" * 200, "at most 300"),
        ("Na½", "unexpected"),
    ],
)
def test_bad_formulas_are_one_readable_sentence(text, message):
    with pytest.raises(CompositionError, match=message) as caught:
        Composition.parse(text)
    assert isinstance(caught.value, NaposError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("Na4P2S7", [1], "has no x in braces"),
        ("Na4P2S{7-x}O{x}", [], "has no values of x"),
        ("Na4P2S{7-x}O{x}", [0, 8], "is -1 at x = 8"),
        ("Na4P2S{7-x}O{2*x}", [1], "at x = 1 is not neutral: net charge -2"),
        ("Na4P2S{7-x}O{x}", [float("nan")], "x is nan; it must be a finite number"),
        ("Na4P2S{7-x}O{x}", ["lots"], "x is 'lots'"),
    ],
)
def test_bad_series_name_the_value_of_x(text, values, message):
    with pytest.raises(CompositionError, match=message):
        expand_series(text, values)


def test_own_charges_replace_and_add_to_the_table():
    assert Composition.parse("Fe2O3", {"Fe": 3}).charges == {"Fe": 3, "O": -2}
    assert Composition.parse("Na4P2S6", {"P": 4}).net_charge == 0
    for wrong in (0, 1.5, True):
        with pytest.raises(CompositionError, match="charge of P is"):
            Composition.parse("Na4P2S7", {"P": wrong})


def test_amounts_given_directly_are_checked():
    with pytest.raises(CompositionError, match="has no element"):
        Composition({}, FORMAL_CHARGES)
    with pytest.raises(CompositionError, match="amount of S is -1"):
        Composition({"Na": F(1), "S": F(-1)}, FORMAL_CHARGES)
    with pytest.raises(CompositionError, match="'Qq' is not a chemical element"):
        Composition({"Qq": F(1)}, FORMAL_CHARGES)
    with pytest.raises(CompositionError, match="a cell must be neutral"):
        Composition({"Na": F(1), "S": F(1)}, FORMAL_CHARGES).cell(100)


@given(st.text(alphabet="NaPSOSiBGe0123456789.+-*/()[]{}x· ", max_size=25))
def test_any_text_is_read_or_refused_with_a_composition_error(text):
    try:
        composition = Composition.parse(text)
    except CompositionError:
        return
    assert composition.net_charge == 0
    assert Composition.parse(composition.formula) == composition


def test_reading_compositions_needs_no_heavy_import():
    code = "import sys, napos_lmp.composition; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
