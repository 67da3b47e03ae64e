"""What the checks of a potential found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.errors import PotentialError


@dataclass(frozen=True)
class CheckResult:
    """One quantity of one check.

    Attributes
    ----------
    check
        Name of the check, one of :data:`napos_lmp.testing.CHECKS`.
    quantity
        What was compared with what.
    where
        Configuration with the largest deviation.
    deviation, tolerance
        The largest deviation found and allowed, in `unit`.
    """

    check: str
    quantity: str
    where: str
    deviation: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the deviation is a number no larger than the tolerance."""
        return math.isfinite(self.deviation) and self.deviation <= self.tolerance

    @property
    def row(self) -> tuple[str, ...]:
        """The result as words: check, quantity, configuration, deviation, tolerance, unit and verdict."""
        verdict = "passed" if self.passed else "FAILED"
        return (
            self.check, self.quantity, self.where, f"{self.deviation:.1e}", f"{self.tolerance:.1e}", self.unit, verdict,
        )  # fmt: skip


COLUMNS = ("check", "compared", "worst in", "deviation", "allowed", "unit", "")


@dataclass(frozen=True)
class Conformance:
    """Results of the checks of one potential.

    Attributes
    ----------
    potential, backend
        Names of both.
    precision
        "float32" or "float64": the arithmetic that the tolerances are made for.
    results
        One entry for each quantity, in the order of the checks.
    """

    potential: str
    backend: str
    precision: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether there are results and all of them passed."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    def of(self, check: str) -> tuple[CheckResult, ...]:
        """The results of one check, none if it was not run."""
        return tuple(result for result in self.results if result.check == check)

    def table(self) -> str:
        """All results as a table of plain text."""
        return text_table([COLUMNS, *(result.row for result in self.results)])

    def as_dict(self) -> dict[str, Any]:
        """All results for JSON."""
        results = [asdict(result) | {"passed": result.passed} for result in self.results]
        about = {"potential": self.potential, "backend": self.backend, "precision": self.precision}
        return {**about, "passed": self.passed, "results": results}

    def require(self) -> None:
        """Do nothing if all checks passed.

        Raises
        ------
        PotentialError
            If one failed; the message says which, by how much.
        """
        if not self.results:
            raise PotentialError(f"potential {self.potential!r} was not checked")
        if self.failed:
            said = "; ".join(
                f"{r.check}: {r.quantity} differ by {r.deviation:.2g} {r.unit} in the {r.where}, {r.tolerance:.2g} is "
                "allowed"
                for r in self.failed
            )
            raise PotentialError(f"potential {self.potential!r} fails {len(self.failed)} of its checks: {said}")


class Deviations:
    """The largest deviation of one quantity over several configurations."""

    def __init__(self, check: str, quantity: str, unit: str, tolerance: float) -> None:
        self._check, self._quantity, self._unit, self._tolerance = check, quantity, unit, tolerance
        self._found: list[tuple[float, str]] = []

    def add(self, where: str, difference: ArrayLike) -> None:
        """Note the largest absolute value of `difference`, infinite where one is no number."""
        values = np.abs(np.asarray(difference, dtype=np.float64))
        self._found.append((float(values.max()) if np.isfinite(values).all() else math.inf, where))

    def results(self) -> list[CheckResult]:
        """The largest of all deviations noted, none where nothing could be compared."""
        if not self._found:
            return []
        deviation, where = max(self._found, key=lambda entry: entry[0])
        return [CheckResult(self._check, self._quantity, where, deviation, self._tolerance, self._unit)]


def text_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of words in columns as wide as they need to be."""
    lines = list(rows)
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )
