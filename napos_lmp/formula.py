"""Reading chemical formulas and joins of components as exact amounts of elements.

Grammar (white space separates, it never joins digits to an element)::

    mixture   = part { ("+" | "·") part }
    part      = [ amount [ "*" ] ] group { group }
    group     = element [ amount ] | "(" mixture ")" [ amount ] | "[" mixture "]" [ amount ]
    amount    = number [ "/" number ] | "{" expression "}"
    expression, as in arithmetic: + - * / ( ) over numbers and the variable x
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from napos_lmp.errors import CompositionError

_PERIODIC_TABLE = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb
    Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au
    Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts
    Og
"""
ELEMENT_SYMBOLS = frozenset(_PERIODIC_TABLE.split())

_LONGEST_TEXT = 300
_DEEPEST_NESTING = 20
_LONGEST_NUMBER = 30
_TOKEN = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)|(?P<element>[A-Z][a-z]?)|(?P<sign>[-+*/()\[\]{}·x])", re.ASCII)
_SAME_SIGN = str.maketrans({"⋅": "·", "∙": "·", "•": "·", "×": "*", "−": "-", "–": "-", "—": "-"})
_CLOSING = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int
    after_space: bool


def parse_formula(text: str, x: Fraction | None = None) -> dict[str, Fraction]:
    """Amounts of the elements in a formula or join of components.

    Parameters
    ----------
    text
        For example ``Na4P2S5.5O1.5`` or ``0.65Na2S+0.35[{x}B2S3+{1-x}P2S5]``.
    x
        Value of the variable in braces, if there is one.

    Returns
    -------
    dict
        Exact amount of each element, zero amounts left out, in order of appearance.

    Raises
    ------
    CompositionError
        If the text is no formula, names something that is no element, or has a negative or no amount.
    """
    reader = _Reader(text, x)
    amounts = {element: amount for element, amount in reader.whole().items() if amount}
    if not amounts:
        raise CompositionError(f"composition {text!r} is empty: every amount in it is zero")
    return amounts


def has_variable(text: str) -> bool:
    """Whether a formula holds the series variable x in braces."""
    return any("x" in inner for inner in re.findall(r"\{([^{}]*)\}", text))


class _Reader:
    """Recursive descent over the grammar above."""

    def __init__(self, text: str, x: Fraction | None) -> None:
        self._text = text
        self._x = x
        self._next = 0
        self._depth = 0
        self._tokens = self._split()

    def whole(self) -> dict[str, Fraction]:
        amounts = self._mixture()
        if self._peek().kind != "end":
            raise self._unexpected()
        return amounts

    def _split(self) -> list[_Token]:
        if not isinstance(self._text, str) or not self._text.strip():
            raise CompositionError(f"composition {self._text!r} is empty: write a formula such as Na4P2S7")
        if len(self._text) > _LONGEST_TEXT:
            raise CompositionError(
                f"composition is {len(self._text)} characters long; at most {_LONGEST_TEXT} are read"
            )
        text = unicodedata.normalize("NFKC", self._text.translate(_SAME_SIGN))
        tokens: list[_Token] = []
        place, after_space = 0, False
        while place < len(text):
            if text[place].isspace():
                place, after_space = place + 1, True
                continue
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise self._error(f"unexpected {text[place]!r} at character {place + 1}")
            if match.lastgroup == "number" and len(match.group()) > _LONGEST_NUMBER:
                raise self._error(f"number {match.group()[:12]}... has more than {_LONGEST_NUMBER} digits")
            tokens.append(_Token(match.lastgroup, match.group(), place, after_space))
            place, after_space = match.end(), False
        return [*tokens, _Token("end", "", len(text), after_space)]

    def _mixture(self) -> dict[str, Fraction]:
        total = self._part()
        while self._peek().text in ("+", "·"):
            self._take()
            _add(total, self._part(), Fraction(1))
        return total

    def _part(self) -> dict[str, Fraction]:
        factor = self._amount() if self._at_amount() else None
        if factor is not None and self._peek().text == "*":
            self._take()
        if not self._at_group():
            raise self._unexpected("an element or a bracket")
        total: dict[str, Fraction] = {}
        while self._at_group():
            group = self._group()
            has_amount = self._at_amount() and not self._peek().after_space
            _add(total, group, self._amount() if has_amount else Fraction(1))
        return {element: amount * (1 if factor is None else factor) for element, amount in total.items()}

    def _group(self) -> dict[str, Fraction]:
        token = self._take()
        if token.kind == "element":
            if token.text not in ELEMENT_SYMBOLS:
                raise self._error(f"{token.text!r} is not a chemical element")
            return {token.text: Fraction(1)}
        self._nest(1)
        inner = self._mixture()
        self._expect(_CLOSING[token.text])
        self._nest(-1)
        return inner

    def _amount(self) -> Fraction:
        token = self._peek()
        if token.text == "{":
            self._take()
            value = self._sum()
            self._expect("}")
        else:
            value = self._number()
            if self._peek().text == "/":
                self._take()
                value = self._divide(value, self._number())
        if value < 0:
            at = "" if self._x is None else f" at x = {_plain(self._x)}"
            raise self._error(
                f"amount at character {token.place + 1} is {_plain(value)}{at}; amounts must not be negative"
            )
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while self._peek().text in ("+", "-"):
            sign = 1 if self._take().text == "+" else -1
            value += sign * self._product()
        return value

    def _product(self) -> Fraction:
        value = self._operand()
        while self._peek().text in ("*", "/"):
            value = value * self._operand() if self._take().text == "*" else self._divide(value, self._operand())
        return value

    def _operand(self) -> Fraction:
        text = self._peek().text
        if text in ("+", "-", "("):
            self._take()
            self._nest(1)
            value = self._sum() if text == "(" else self._operand()
            if text == "(":
                self._expect(")")
            self._nest(-1)
            return -value if text == "-" else value
        if text == "x":
            self._take()
            if self._x is None:
                raise self._error("x has no value; a formula with {...x...} is a series and needs values of x")
            return self._x
        value = self._number()
        if self._peek().text == "x" and not self._peek().after_space:
            value *= self._operand()
        return value

    def _number(self) -> Fraction:
        if self._peek().kind != "number":
            raise self._unexpected("a number")
        return Fraction(self._take().text.rstrip("."))

    def _divide(self, value: Fraction, divisor: Fraction) -> Fraction:
        if divisor == 0:
            raise self._error("an amount is divided by zero")
        return value / divisor

    def _at_amount(self) -> bool:
        token = self._peek()
        return token.kind == "number" or token.text == "{"

    def _at_group(self) -> bool:
        token = self._peek()
        return token.kind == "element" or token.text in _CLOSING

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, text: str) -> None:
        if self._peek().text != text:
            raise self._unexpected(repr(text))
        self._take()

    def _nest(self, change: int) -> None:
        self._depth += change
        if self._depth > _DEEPEST_NESTING:
            raise self._error(f"brackets are nested more than {_DEEPEST_NESTING} deep")

    def _unexpected(self, wanted: str = "'+' between components") -> CompositionError:
        token = self._peek()
        if token.text == "-":
            return self._error(
                f"'-' at character {token.place + 1}: amounts must not be negative, and components are joined with '+'"
            )
        found = f"{token.text!r} at character {token.place + 1}" if token.text else "the end"
        return self._error(f"expected {wanted}, found {found}")

    def _error(self, reason: str) -> CompositionError:
        return CompositionError(f"composition {self._text!r}: {reason}")


def _add(total: dict[str, Fraction], more: dict[str, Fraction], factor: Fraction) -> None:
    for element, amount in more.items():
        total[element] = total.get(element, Fraction(0)) + amount * factor


def _plain(value: Fraction) -> str:
    return f"{float(value):.6g}"
