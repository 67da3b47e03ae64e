"""One HTML page out of sections of text, tables, figures and caveats; nothing outside the file is referred to."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from napos_lmp.composition import FORMAL_CHARGES
from napos_lmp.report.numbers import Number, NumberBook, Table

if TYPE_CHECKING:
    from markupsafe import Markup

_FOLDER = Path(__file__).resolve().parent
_SYMBOL = "(?:" + "|".join(sorted(FORMAL_CHARGES, key=len, reverse=True)) + ")"
_FORMULA = re.compile(rf"(?<![A-Za-z_/])(?=[A-Za-z.]*\d)(?:{_SYMBOL}(?:\d+(?:\.\d+)?)?){{2,}}(?![\w/])")
_SUBSCRIPT = str.maketrans("0123456789-+x", "₀₁₂₃₄₅₆₇₈₉₋₊ₓ")
_ANGSTROM = re.compile(r"(?<=\d) A(?=[\s,.;)]|$)")


@dataclass(frozen=True)
class Text:
    """A paragraph; `style` is "", "note" or "alert"."""

    kind: ClassVar[str] = "text"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section; `anchor` can be linked to."""

    kind: ClassVar[str] = "heading"
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Tabular:
    """A table."""

    kind: ClassVar[str] = "table"
    table: Table


@dataclass(frozen=True)
class Figure:
    """A drawing; `alt` says in words what it shows, for those who cannot see it."""

    kind: ClassVar[str] = "figure"
    svg: str
    alt: str
    caption: str

    @property
    def source(self) -> str:
        """The drawing as a data URI."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode("ascii")


@dataclass(frozen=True)
class Caveat:
    """One reason for distrust; `short` is what the start of the report says of it, "" for lesser ones."""

    title: str
    sentences: tuple[str, ...]
    short: str = ""


@dataclass(frozen=True)
class Caveats:
    """A list of reasons for distrust."""

    kind: ClassVar[str] = "caveats"
    caveats: tuple[Caveat, ...]


@dataclass(frozen=True)
class CardItem:
    """One headline number: what it is, and in `detail` under what conditions."""

    label: str
    number: Number
    detail: str


@dataclass(frozen=True)
class Card:
    """The headline numbers of one glass; `anchor` is that of its section."""

    title: str
    anchor: str
    items: tuple[CardItem, ...]


@dataclass(frozen=True)
class Cards:
    """Headline numbers of several glasses."""

    kind: ClassVar[str] = "cards"
    cards: tuple[Card, ...]


Block = Text | Heading | Tabular | Figure | Caveats | Cards


@dataclass(frozen=True)
class Section:
    """A part of the page; `short` is its name in the table of contents."""

    anchor: str
    title: str
    short: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The whole report; `files` says, at its end, what else is to be found where."""

    title: str
    kicker: str
    subtitle: str
    program_version: str
    sections: tuple[Section, ...]
    files: str

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """All reasons for distrust."""
        return tuple(c for s in self.sections for b in s.blocks if isinstance(b, Caveats) for c in b.caveats)

    @property
    def book(self) -> NumberBook:
        """All tables of the page, by section."""
        tables = {s.anchor: [b.table for b in s.blocks if isinstance(b, Tabular)] for s in self.sections}
        return NumberBook({anchor: found for anchor, found in tables.items() if found})


def render_page(page: Page) -> str:
    """The page as one HTML document; text from users and files is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["chemical"] = chemical
    environment.tests["quantity"] = lambda value: isinstance(value, Number)
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    return environment.get_template("template.html.j2").render(page=page, style=style)


def subscripted(text: str) -> str:
    """The same for the labels of figures, with the digits that Unicode has below the line; {7-x} becomes ₇₋ₓ."""
    text = _FORMULA.sub(lambda match: match[0].translate(_SUBSCRIPT), text)
    return re.sub(r"\{([^{}]*)\}", lambda match: match[1].translate(_SUBSCRIPT), text)


def chemical(text: str) -> Markup:
    """Text as HTML in which the amounts in formulas are set below the line, A after a number is Å and +- is ±."""
    from markupsafe import Markup, escape

    text = _ANGSTROM.sub(" Å", text).replace(" +- ", " ± ")
    parts: list[str] = []
    last = 0
    for match in _FORMULA.finditer(text):
        parts.append(str(escape(text[last : match.start()])))
        parts.append(re.sub(r"(\d+(?:\.\d+)?)", r"<sub>\1</sub>", match.group()))
        last = match.end()
    parts.append(str(escape(text[last:])))
    return Markup("".join(parts))  # noqa: S704 - each part was escaped or is a formula of letters, digits and points
