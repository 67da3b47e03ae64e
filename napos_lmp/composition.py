"""Glass compositions: exact amounts, formal charges, network quantities and integer cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from napos_lmp.errors import CompositionError
from napos_lmp.formula import ELEMENT_SYMBOLS, has_variable, parse_formula

FORMAL_CHARGES: dict[str, int] = {"Na": 1, "P": 5, "Si": 4, "B": 3, "Ge": 4, "S": -2, "O": -2}
NETWORK_FORMERS = ("P", "Si", "B", "Ge")
TETRAHEDRAL_COORDINATION = {"P": 4, "Si": 4, "Ge": 4}
_ANIONS = ("S", "O")
_LARGEST_CELL = 10_000_000
_SEARCH_REACH = (1, 2, 3)


@dataclass(frozen=True)
class Cell:
    """Whole numbers of atoms for a simulation cell.

    Attributes
    ----------
    counts
        Atoms of each element, neutral in total, every element of the composition at least once.
    composition_error
        Largest absolute difference between a mole fraction in the cell and in the composition; 0 when exact.
    n_atoms
        Sum of the counts.
    """

    counts: dict[str, int]
    composition_error: float
    n_atoms: int


@dataclass(frozen=True)
class Composition:
    """A composition as exact amounts of elements with formal charges.

    Parameters
    ----------
    amounts
        Positive amount of each element, in any common unit.
    charges
        Formal charge of each of those elements, in elementary charges; none may be zero.

    Raises
    ------
    CompositionError
        If there is no element, an amount is not positive, or a charge is missing or zero.
    """

    amounts: dict[str, Fraction]
    charges: dict[str, int]

    def __post_init__(self) -> None:
        if not self.amounts:
            raise CompositionError("composition is empty: it has no element")
        for element, amount in self.amounts.items():
            if element not in ELEMENT_SYMBOLS:
                raise CompositionError(f"{element!r} is not a chemical element")
            if amount <= 0:
                raise CompositionError(f"amount of {element} is {amount}; amounts must be positive")
        object.__setattr__(self, "charges", {element: _charge(element, self.charges) for element in self.amounts})
        ordered = {element: Fraction(self.amounts[element]) for element in sorted(self.amounts, key=self._rank)}
        object.__setattr__(self, "amounts", ordered)
        object.__setattr__(self, "charges", {element: self.charges[element] for element in ordered})

    def __hash__(self) -> int:
        return hash((tuple(self.amounts.items()), tuple(self.charges.items())))

    @classmethod
    def parse(cls, text: str, charges: Mapping[str, int] | None = None) -> Composition:
        """Read a formula or a join of components.

        Parameters
        ----------
        text
            For example ``Na4P2S7``, ``0.65Na2S+0.35P2S5`` or ``0.5Na2S + 0.5[0.7GeS2 + 0.3PS5/2]``.
        charges
            Formal charges that are added to, or replace, those of `FORMAL_CHARGES`.

        Raises
        ------
        CompositionError
            If the text cannot be read, an element has no known charge, or the charges do not balance.
        """
        return cls._neutral(text, parse_formula(text), charges, "")

    @classmethod
    def _neutral(
        cls, text: str, amounts: dict[str, Fraction], charges: Mapping[str, int] | None, where: str
    ) -> Composition:
        composition = cls(amounts, {**FORMAL_CHARGES, **(charges or {})})
        net = composition.net_charge
        if net:
            used = ", ".join(f"{element} {charge:+d}" for element, charge in composition.charges.items())
            raise CompositionError(
                f"composition {text!r}{where} is not neutral: net charge {_signed(net)} per {composition.formula} "
                f"with {used}"
            )
        return composition

    def _rank(self, element: str) -> tuple[int, int, str]:
        if element in NETWORK_FORMERS:
            return (1, NETWORK_FORMERS.index(element), element)
        if self.charges[element] > 0:
            return (0, 0, element)
        return (2, _ANIONS.index(element) if element in _ANIONS else len(_ANIONS), element)

    @property
    def formula(self) -> str:
        """The amounts as text: modifiers, formers, then anions with S before O; reads back to the same amounts."""
        return "".join(f"{element}{_amount_text(amount)}" for element, amount in self.amounts.items())

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements in the order of the formula."""
        return tuple(self.amounts)

    @property
    def mole_fractions(self) -> dict[str, Fraction]:
        """Share of each element among all atoms; the sum is 1."""
        total = sum(self.amounts.values(), Fraction(0))
        return {element: amount / total for element, amount in self.amounts.items()}

    @property
    def net_charge(self) -> Fraction:
        """Sum of amount times formal charge, in elementary charges per formula."""
        return sum((amount * self.charges[element] for element, amount in self.amounts.items()), Fraction(0))

    @property
    def formers(self) -> tuple[str, ...]:
        """Network formers that are present, of P, Si, B and Ge."""
        return tuple(element for element in self.amounts if element in NETWORK_FORMERS)

    @property
    def modifier_ratio(self) -> float | None:
        """R: positive charge of the modifiers per network former, Na/former for sodium; None without a former."""
        formers = self._former_amount()
        if not formers:
            return None
        modifiers = (
            amount * self.charges[element]
            for element, amount in self.amounts.items()
            if self.charges[element] > 0 and element not in NETWORK_FORMERS
        )
        return float(sum(modifiers, Fraction(0)) / formers)

    @property
    def expected_mean_n(self) -> float | None:
        """Mean number of bridging anions per former in a network of tetrahedra; see `mean_bridging_anions`.

        None when it cannot be known from the composition: no former, boron (three- or four-coordinate), a former or
        an anion with another charge than the table's, or an anion that is neither S nor O.
        """
        ordinary = all(
            self.charges[element] == FORMAL_CHARGES.get(element)
            for element in self.amounts
            if element in NETWORK_FORMERS or self.charges[element] < 0
        )
        if not self.formers or not ordinary or any(f not in TETRAHEDRAL_COORDINATION for f in self.formers):
            return None
        return self.mean_bridging_anions(TETRAHEDRAL_COORDINATION)

    def mean_bridging_anions(self, coordination: Mapping[str, float | Fraction]) -> float:
        """Mean number n of bridging anions per former, given how many anions each former holds.

        A network without homopolar bonds and triclusters has ``sum(z_f N_f) = 2 N_bridging + N_terminal`` bonds from
        formers to anions, and ``N_anion = N_bridging + N_terminal + N_isolated`` anions. With as few isolated anions
        as possible, ``n = 2 N_bridging / N_former = 2 (sum(z_f N_f) - N_anion) / N_former``, and 0 where that is
        negative (the excess anions are isolated). For neutral compositions that is 3 - R for P (a terminal P=S or
        P=O counts as one of the four) and 4 - R for Si and Ge.

        Parameters
        ----------
        coordination
            Mean number of anions around each former that is present.

        Raises
        ------
        CompositionError
            If there is no former, or one has no coordination number.
        """
        formers = self._former_amount()
        if not formers:
            raise CompositionError(f"{self.formula} has no network former ({', '.join(NETWORK_FORMERS)})")
        for former in self.formers:
            if former not in coordination:
                raise CompositionError(f"coordination number of {former} is missing for {self.formula}")
        bonds = sum((Fraction(coordination[f]) * self.amounts[f] for f in self.formers), Fraction(0))
        anions = sum((a for element, a in self.amounts.items() if self.charges[element] < 0), Fraction(0))
        return float(max(Fraction(0), 2 * (bonds - anions) / formers))

    def cell(self, n_atoms: int) -> Cell:
        """Neutral whole numbers of atoms near `n_atoms` with the smallest composition error.

        Sizes within 10 % of `n_atoms` (at least 6, at most 200 atoms either way) are searched; among equal errors the
        size nearest to `n_atoms` wins.

        Raises
        ------
        CompositionError
            If `n_atoms` is no positive whole number, or no neutral cell of about that size holds every element.
        """
        if isinstance(n_atoms, bool) or not isinstance(n_atoms, int) or not 1 <= n_atoms <= _LARGEST_CELL:
            raise CompositionError(f"n_atoms is {n_atoms!r}; it must be a whole number from 1 to {_LARGEST_CELL}")
        if self.net_charge:
            raise CompositionError(f"{self.formula} has net charge {_signed(self.net_charge)}; a cell must be neutral")
        unit = self._smallest_integers()
        unit_size = sum(unit.values())
        window = min(max(n_atoms // 10, 6), 200)
        repeats = max(1, round(Fraction(n_atoms, unit_size)))
        if abs(repeats * unit_size - n_atoms) <= window:
            counts = {element: repeats * amount for element, amount in unit.items()}
            return Cell(counts, 0.0, repeats * unit_size)
        best: tuple[Fraction, int, dict[str, int]] | None = None
        for size in range(max(1, n_atoms - window), n_atoms + window + 1):
            found = self._nearest_neutral(size, unit, unit_size)
            if found is not None:
                candidate = (Fraction(found[0], size * unit_size), abs(size - n_atoms), found[1])
                if best is None or candidate[:2] < best[:2]:
                    best = candidate
        if best is None:
            raise CompositionError(
                f"no neutral cell of about {n_atoms} atoms holds every element of {self.formula}; "
                f"{unit_size} atoms are exact, so ask for at least that many"
            )
        return Cell(best[2], float(best[0]), sum(best[2].values()))

    def _nearest_neutral(self, size: int, unit: dict[str, int], unit_size: int) -> tuple[int, dict[str, int]] | None:
        """Neutral counts of `size` atoms with the smallest largest deviation, in units of 1/unit_size atoms.

        All counts within `reach` of the ideal are tried for all but one cation and one anion, which neutrality and
        size then fix; a best deviation of at most `reach` is therefore the optimum.
        """
        cation = next(e for e in unit if self.charges[e] > 0)
        anion = next(e for e in unit if self.charges[e] < 0)
        free = [element for element in unit if element not in (cation, anion)]
        q_cation, q_anion = self.charges[cation], self.charges[anion]
        best: tuple[int, dict[str, int]] | None = None
        for reach in _SEARCH_REACH:
            ranges = []
            for element in free:
                low = -(-(unit[element] * size - reach * unit_size) // unit_size)
                high = (unit[element] * size + reach * unit_size) // unit_size
                ranges.append(range(max(1, low), max(1, high) + 1))
            for chosen in itertools.product(*ranges):
                rest = size - sum(chosen)
                charge = -sum(self.charges[e] * c for e, c in zip(free, chosen, strict=True))
                cations, remainder = divmod(charge - q_anion * rest, q_cation - q_anion)
                if remainder or cations < 1 or rest - cations < 1:
                    continue
                counts = {**dict(zip(free, chosen, strict=True)), cation: cations, anion: rest - cations}
                deviation = max(abs(counts[e] * unit_size - unit[e] * size) for e in unit)
                if best is None or deviation < best[0]:
                    best = (deviation, {e: counts[e] for e in unit})
            if best is not None and best[0] <= reach * unit_size:
                break
        return best

    def _former_amount(self) -> Fraction:
        return sum((self.amounts[former] for former in self.formers), Fraction(0))

    def _smallest_integers(self) -> dict[str, int]:
        scale = math.lcm(*(amount.denominator for amount in self.amounts.values()))
        whole = {element: int(amount * scale) for element, amount in self.amounts.items()}
        divisor = math.gcd(*whole.values())
        return {element: amount // divisor for element, amount in whole.items()}


def expand_series(
    text: str, x_values: Iterable[float | str | Fraction], charges: Mapping[str, int] | None = None
) -> list[Composition]:
    """One composition for each value of x in a formula such as ``Na4P2S{7-x}O{x}``.

    Parameters
    ----------
    text
        Formula with amounts in braces that depend on x; only + - * / and parentheses are understood there.
    x_values
        Values of x. Floats are taken as the decimal number that Python prints; strings such as "1/3" are exact.
    charges
        As in `Composition.parse`.

    Raises
    ------
    CompositionError
        If the text has no x, there are no values, or any of the compositions cannot be used; the message names x.
    """
    if not has_variable(text):
        raise CompositionError(f"series {text!r} has no x in braces; write for example Na4P2S{{7-x}}O{{x}}")
    compositions = []
    for value in x_values:
        try:
            x = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            raise CompositionError(f"series {text!r}: x is {value!r}; it must be a finite number") from None
        compositions.append(Composition._neutral(text, parse_formula(text, x), charges, f" at x = {value}"))
    if not compositions:
        raise CompositionError(f"series {text!r} has no values of x")
    return compositions


def _charge(element: str, charges: Mapping[str, int]) -> int:
    if element not in charges:
        known = ", ".join(FORMAL_CHARGES)
        raise CompositionError(
            f"element {element} has no formal charge here (known: {known}); give it with charges={{'{element}': ...}}"
        )
    charge = charges[element]
    if isinstance(charge, bool) or not isinstance(charge, int) or charge == 0:
        raise CompositionError(f"charge of {element} is {charge!r}; it must be a whole number other than zero")
    return charge


def _amount_text(amount: Fraction) -> str:
    if amount == 1:
        return ""
    if amount.denominator == 1:
        return str(amount.numerator)
    scale = 0
    while scale < 12 and 10**scale % amount.denominator:
        scale += 1
    if 10**scale % amount.denominator:
        return f"{amount.numerator}/{amount.denominator}"
    digits = str(amount * 10**scale).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}"


def _signed(charge: Fraction) -> str:
    return f"{float(charge):+.6g}"
