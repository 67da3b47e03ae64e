"""Numbers as the report shows them, tables of them, and `report.json` and `numbers.csv` that hold each one.

A number in the report is always a :class:`Number`: it has a unit, and an interval or the reason why it has none. The
page shows nothing else, so what a reader sees can be found again, unrounded, in the files beside it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napos_lmp.files import whole_file, write_text

NOT_DETERMINED = "not determined"
INPUT = "input"
"""Basis of numbers that were put in or counted: shown as they are."""
COMPOSITION = "composition"
"""Basis of numbers that follow from the composition, which replicas share."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = "−"
_MOST_COUNTED = 1e8
_LOGARITHMIC = ("S/cm", "cm²/s")
_DECADES_APART = 100.0
_USUAL_DECIMALS = {"%": 1, "anions": 2, "per 100 formers": 1, "Å": 2}
_COLUMNS = (
    "section", "table", "row", "column", "value", "low", "high", "level", "unit", "basis", "note", "refused", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A value with its unit and interval, or the reason why there is no value.

    Attributes
    ----------
    value
        Best estimate; None where it is refused.
    unit
        Unit of value and interval; "" for pure numbers.
    low, high
        Ends of the interval at confidence `level`; None where there is none.
    basis
        What the interval speaks for: "within run", "between 3 replicas", "input", "reference", ...
    note
        Why there is no interval, or what it leaves out.
    refused
        Why the value could not be determined.
    decimals
        Decimals to show where there is no interval.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    basis: str = ""
    note: str = ""
    refused: str = ""
    decimals: int | None = None

    @classmethod
    def of_refusal(cls, unit: str, reason: str) -> Number:
        """A number that could not be determined, with the reason in one sentence."""
        return cls(None, unit, refused=reason or "no reason was recorded")

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where there is none."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return (self.low, self.high) if math.isfinite(self.low) and math.isfinite(self.high) else None

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.ends is not None

    @property
    def text(self) -> str:
        """Value and interval, rounded to what the interval supports, without the unit."""
        if self.value is None or not math.isfinite(self.value):
            return NOT_DETERMINED
        if self.ends is not None:
            return _with_interval(self.value, *self.ends)
        if self.basis == INPUT and self.decimals is None:
            return f"{self.value:.10g}".replace("-", _MINUS)
        return _plain(self.value, _USUAL_DECIMALS.get(self.unit) if self.decimals is None else self.decimals)

    @property
    def full_text(self) -> str:
        """:attr:`text` with the unit."""
        if self.text == NOT_DETERMINED or not self.unit:
            return self.text
        return f"{_bracketed(self.text) if '±' in self.text else self.text} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """The number as JSON-ready values, `text` as on the page."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "level": self.level, "unit": self.unit or "1",
            "basis": self.basis, "note": self.note, "refused": self.refused, "text": self.text,
        }  # fmt: skip


Cell = str | Number


@dataclass(frozen=True)
class Table:
    """A table of the report: the first cell of each row names it, the others hold text or numbers.

    `name` is unique in the report; `columns` are headings without units, which are added from the numbers.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def units(self) -> tuple[str | None, ...]:
        """The unit that all numbers of a column share; None where they differ or there is no number."""
        found: list[str | None] = []
        for place in range(len(self.columns)):
            units = {cell.unit for row in self.rows if isinstance(cell := row[place], Number)}
            found.append(units.pop() if len(units) == 1 else None)
        return tuple(found)

    def is_numeric(self, place: int) -> bool:
        """Whether a column holds any number."""
        return any(isinstance(row[place], Number) for row in self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons and notes of the numbers, each once, in the order of the cells."""
        said = (cell.refused or cell.note for row in self.rows for cell in row if isinstance(cell, Number))
        return tuple(dict.fromkeys(text for text in said if text))

    def mark(self, cell: Cell) -> str:
        """Letter of the note that belongs to a cell; "" without one."""
        text = (cell.refused or cell.note) if isinstance(cell, Number) else ""
        return _letters(self.notes.index(text)) if text else ""

    @property
    def numbered_notes(self) -> tuple[tuple[str, str], ...]:
        """Notes with their letters."""
        return tuple((_letters(i), text) for i, text in enumerate(self.notes))


@dataclass(frozen=True)
class NumberBook:
    """All tables of a report, by section."""

    sections: dict[str, list[Table]] = field(default_factory=dict)

    def records(self) -> Iterator[dict[str, Any]]:
        """One record for each number of each table."""
        for section, tables in self.sections.items():
            for table in tables:
                for row in table.rows:
                    for heading, cell in zip(table.columns, row, strict=True):
                        if isinstance(cell, Number):
                            place = {"section": section, "table": table.name, "row": _plain_cell(row[0])}
                            yield place | {"column": heading} | cell.as_dict()


def write_numbers(folder: Path, about: dict[str, Any], book: NumberBook) -> tuple[Path, Path]:
    """Write `report.json` (with `about` beside the numbers) and `numbers.csv` into a folder."""
    records = list(book.records())
    as_json, as_csv = folder / "report.json", folder / "numbers.csv"
    content = {**about, "numbers": records}
    write_text(as_json, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    with whole_file(as_csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return as_json, as_csv


def combine(numbers: Sequence[Number]) -> Number:
    """Mean over one replica or more, with Student's t interval between them; a single run keeps its own interval.

    Diffusion coefficients and conductivities are averaged in their logarithms, so their interval is positive.
    Refused when no replica has a value; replicas without one are left out and counted in the note.
    """
    valued = [number for number in numbers if number.value is not None]
    unit = numbers[0].unit
    if not valued:
        return Number.of_refusal(unit, numbers[0].refused)
    if len(valued) == 1:
        note = f"{len(numbers) - 1} of {len(numbers)} replicas gave no value" if len(numbers) > 1 else ""
        only = valued[0]
        joined = "; ".join(text for text in (only.note, note) if text)
        return Number(only.value, unit, only.low, only.high, only.level, only.basis or "within run", joined)
    from scipy.special import stdtrit

    if {(number.value, number.basis) for number in valued} == {(valued[0].value, COMPOSITION)}:
        return valued[0]
    logarithmic = unit in _LOGARITHMIC
    values = [math.log(v) if logarithmic else v for number in valued if (v := number.value) is not None]
    n = len(values)
    mean = sum(values) / n
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    note = f"{len(numbers) - n} of {len(numbers)} replicas gave no value" if n < len(numbers) else ""
    if spread <= 1e-12 * abs(mean):
        same = f"the same in all {n} replicas, which gives no interval"
        value = math.exp(mean) if logarithmic else mean
        return Number(value, unit, basis=f"{n} replicas", note="; ".join(filter(None, (same, note))))
    half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    basis = f"between {n} replicas"
    if logarithmic:
        ends = math.exp(mean - half), math.exp(mean + half)
        return Number(math.exp(mean), unit, *ends, basis=basis, note="; ".join(filter(None, ("geometric mean", note))))
    return Number(mean, unit, *_limited(unit, mean - half, mean + half), basis=basis, note=note)


def _limited(unit: str, low: float, high: float) -> tuple[float, float]:
    return (max(low, 0.0), min(high, 100.0)) if unit == "%" else (low, high)


def _with_interval(value: float, low: float, high: float) -> str:
    if low > 0 and high > _DECADES_APART * low:
        return f"{_two_digits(value)} [{_two_digits(low)}, {_two_digits(high)}]"
    size = max(abs(low), abs(high))
    power = _power(abs(value) if abs(value) > 0.1 * size else size)
    value, low, high = (x / 10**power for x in (value, low, high))
    half = (high - low) / 2
    if abs((high - value) - (value - low)) <= 0.2 * half:
        decimals = _decimals_of_error(half)
        body = f"{_decimal(value, decimals)} ± {_decimal(half, decimals)}"
        return body if power == 0 else f"({body}) × 10{superscript(power)}"
    decimals = _decimals_of_error(min(high - value, value - low) or half)
    body = f"{_decimal(value, decimals)} [{_decimal(low, decimals)}, {_decimal(high, decimals)}]"
    return body if power == 0 else f"{body} × 10{superscript(power)}"


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.1e}")
    power = _power(abs(rounded))
    scaled = rounded / 10**power
    body = _decimal(scaled, max(0, 1 - _magnitude(scaled)))
    return body if power == 0 else f"{body} × 10{superscript(power)}"


def _plain(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return _decimal(value, decimals)
    if float(value).is_integer() and abs(value) < _MOST_COUNTED:
        return _decimal(value, 0)
    power = _power(abs(value))
    scaled = value / 10**power
    digits = max(0, 2 - _magnitude(scaled))
    body = _decimal(scaled, digits)
    return body if power == 0 else f"{body} × 10{superscript(power)}"


def _power(size: float) -> int:
    """Power of ten to take out: none for sizes that read well as they are."""
    if size == 0 or 1e-2 <= size < 1e4:
        return 0
    return _magnitude(size)


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _decimals_of_error(error: float) -> int:
    """Two significant digits where the first is 1 or 2, else one."""
    if error <= 0:
        return 2
    magnitude = _magnitude(error)
    leading = error / 10**magnitude
    return (1 if leading < 2.95 else 0) - magnitude


def _decimal(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(0, decimals)}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def _bracketed(text: str) -> str:
    return text if text.startswith("(") else f"({text})"


def _letters(place: int) -> str:
    high, low = divmod(place, 26)
    return (chr(ord("a") + high - 1) if high else "") + chr(ord("a") + low)


def _plain_cell(cell: Cell) -> str:
    return cell.full_text if isinstance(cell, Number) else cell


def superscript(number: int) -> str:
    """The number above the line."""
    return str(number).translate(_SUPERSCRIPT)
