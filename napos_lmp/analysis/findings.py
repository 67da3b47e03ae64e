"""What the measurements of one trajectory give: numbers, curves, and the reasons for what there is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from napos_lmp.analysis.base import Result
from napos_lmp.analysis.results import Quantity, Window


@dataclass
class Findings:
    """What was found on one trajectory.

    Attributes
    ----------
    quantities
        The numbers, and those that were refused.
    tables
        The results that are saved as CSV files, by name of the measurement.
    windows
        Where diffusion coefficients were fitted.
    refusals
        Measurements that could not be made, and why.
    """

    quantities: list[Quantity] = field(default_factory=list)
    tables: dict[str, Result] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, result: Result, quantities: Iterable[Quantity] = ()) -> None:
        """Keep a result under the name of its measurement, and its quantities."""
        self.tables[name] = result
        self.quantities.extend(quantities)

    def include(self, others: Findings) -> None:
        """Keep all that others found."""
        self.quantities.extend(others.quantities)
        self.tables.update(others.tables)
        self.windows.extend(others.windows)
        self.refusals.update(others.refusals)
