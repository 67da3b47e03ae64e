"""How numbers are rounded, combined and written."""

import csv
import json
import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napos_lmp.report.numbers import Number, NumberBook, Table, combine, write_numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.42, 0.39, 0.45, "0.42 ± 0.03"),
        (2.0193, 1.9913, 2.0473, "2.019 ± 0.028"),
        (0.42, 0.39, 0.50, "0.42 [0.39, 0.50]"),
        (25151.0, 15725.0, 40228.0, "2.5 [1.6, 4.0] × 10⁴"),
        (4.0e-5, 1.0e-5, 1.4e-4, "4 [1, 14] × 10⁻⁵"),
        (1234.0, 934.0, 1534.0, "1200 ± 300"),
        (1.0, 1.0, 2.0, "1.0 [1.0, 2.0]"),
        (1.24e-4, 1.4e-6, 9.99e-3, "1.2 × 10⁻⁴ [1.4 × 10⁻⁶, 0.010]"),
        (20.0, 0.5, 800.0, "20 [0.50, 800]"),
        (97.4, 91.2, 100.0, "97.4 [91.2, 100.0]"),
        (-0.5, -0.6, -0.4, "−0.50 ± 0.10"),
        (2.5e-5, 2.2e-5, 2.8e-5, "(2.5 ± 0.3) × 10⁻⁵"),
        (2.5e-5, 2.2e-5, 3.8e-5, "2.5 [2.2, 3.8] × 10⁻⁵"),
        (351.0, None, None, "351"),
        (123456.0, None, None, "123456"),
        (123456.7, None, None, "1.23 × 10⁵"),
        (0.0, None, None, "0"),
        (4.213, None, None, "4.21"),
        (4.4e-6, None, None, "4.40 × 10⁻⁶"),
        (-0.0004, -0.03, 0.03, "0.00 ± 0.03"),
    ],
)
def test_text(value, low, high, text):
    assert Number(value, "g/cm³", low, high).text == text


def test_refusal_has_no_unit():
    number = Number.of_refusal("S/cm", "too short")
    assert number.text == number.full_text == "not determined"


def test_unit_follows_the_bracket():
    assert Number(0.42, "eV", 0.39, 0.45).full_text == "(0.42 ± 0.03) eV"
    assert Number(0.42, "eV").full_text == "0.420 eV"


def read_back(text: str) -> tuple[float, float, float]:
    def power_of(superscript: str) -> float:
        return 10.0 ** int(superscript.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or "0")

    common = 1.0
    if match := re.search(r"(?<=[)\]]) × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$", text):
        common = power_of(match[1])
        text = text[: match.start()]
    parts = re.findall(r"(-?\d+\.?\d*)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text.replace("−", "-"))
    numbers = [float(number) * common * power_of(own) for number, own in parts]
    if "±" in text:
        return numbers[0], numbers[0] - numbers[1], numbers[0] + numbers[1]
    return numbers[0], numbers[1], numbers[2]


@given(
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-12),
    st.floats(1e-9, 1e5),
    st.floats(0.3, 3.0),
)
def test_rounding_loses_little_of_the_interval(value, below, ratio):
    assume(below > 1e-13 * abs(value))  # a double has no digits for narrower intervals
    low, high = value - below, value + ratio * below
    half = (high - low) / 2
    rounding, asymmetry = 0.5 / 2.95 * half, 0.1 * half
    shown = read_back(Number(value, "K", low, high).text)
    assert shown[0] == pytest.approx(value, abs=1.01 * rounding)
    assert shown[1] == pytest.approx(low, abs=2.02 * rounding + asymmetry)
    assert shown[2] == pytest.approx(high, abs=2.02 * rounding + asymmetry)


class TestCombine:
    def test_student_interval_between_three(self):
        mean = combine([Number(v, "eV") for v in (1.0, 2.0, 3.0)])
        half = 4.302653 / math.sqrt(3)
        assert (mean.value, mean.basis) == (2.0, "between 3 replicas")
        assert (mean.low, mean.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)

    def test_one_run_keeps_its_own_interval(self):
        number = combine([Number(1.0, "eV", 0.8, 1.3)])
        assert (number.low, number.high, number.basis) == (0.8, 1.3, "within run")

    def test_refused_replicas_are_counted(self):
        number = combine([Number.of_refusal("eV", "too short"), Number(1.0, "eV", 0.8, 1.3), Number(2.0, "eV")])
        assert number.value == 1.5
        assert number.note == "1 of 3 replicas gave no value"

    def test_all_refused(self):
        assert combine([Number.of_refusal("eV", "too short")] * 2).refused == "too short"

    def test_shares_stay_between_0_and_100(self):
        number = combine([Number(99.0, "%"), Number(100.0, "%")])
        assert number.high == 100
        assert number.low < 99

    def test_conductivities_are_averaged_in_their_logarithms(self):
        number = combine([Number(1e-3, "S/cm"), Number(1e-1, "S/cm")])
        half = 12.706205 * math.log(10) / math.sqrt(1)
        assert number.value == pytest.approx(1e-2)
        assert number.low == pytest.approx(1e-2 * math.exp(-half), rel=1e-5)
        assert number.high == pytest.approx(1e-2 * math.exp(half), rel=1e-5)

    def test_no_spread_gives_no_interval(self):
        number = combine([Number(100.0, "%")] * 3)
        assert not number.has_interval
        assert "all 3 replicas" in number.note


def test_table_collects_units_and_notes():
    rows = (
        ("a", Number(1.0, "K", note="why"), Number(1.0, "eV")),
        ("b", Number(2.0, "K", note="why"), Number.of_refusal("S/cm", "too short")),
    )
    table = Table("t", "caption", ("", "T", "mixed"), rows)
    assert table.units == (None, "K", None)
    assert table.numbered_notes == (("a", "why"), ("b", "too short"))
    assert [table.mark(cell) for cell in rows[1]] == ["", "a", "b"]


def test_files_hold_every_number(tmp_path):
    rows = (("a", Number(1.25, "K", 1.0, 1.5)), ("b", Number.of_refusal("K", "too short")))
    book = NumberBook({"glance": [Table("t", "caption", ("Glass", "T"), rows)]})
    as_json, as_csv = write_numbers(tmp_path, {"title": "x"}, book)
    numbers = json.loads(as_json.read_text())["numbers"]
    assert [(n["row"], n["column"], n["value"], n["refused"]) for n in numbers] == [
        ("a", "T", 1.25, ""),
        ("b", "T", None, "too short"),
    ]
    with as_csv.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["value"], line["unit"], line["text"]) for line in lines] == [
        ("1.25", "K", numbers[0]["text"]),
        ("", "K", "not determined"),
    ]
