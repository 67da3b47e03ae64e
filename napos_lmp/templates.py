"""The LAMMPS inputs and job scripts as Jinja2 templates: those that come with the package, and a user's own in front.

A template is known by its path below `lammps_templates/`, such as ``stages/melt.lmp.j2``. A file of the same path in
the user's folder takes its place. Templates render in Jinja2's sandbox, and a name that has no value is an error.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napos_lmp.errors import TemplateError
from napos_lmp.files import write_text
from napos_lmp.resources import shipped_folder

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_SUFFIX = ".j2"


@dataclass(frozen=True)
class TemplateInfo:
    """One template: its name, whether it is the user's own, and its file."""

    name: str
    is_own: bool
    path: Path

    @property
    def summary(self) -> str:
        """What the template is for: the Jinja comment it begins with, empty if there is none."""
        match = re.match(r"\{#-?(.*?)-?#\}", self.path.read_text(encoding="utf-8"), re.DOTALL)
        return " ".join(match[1].split()) if match else ""


class Templates:
    """The templates in force.

    Parameters
    ----------
    folder
        A user's folder; each file in it stands in for the shipped template of the same path. None: shipped ones only.

    Raises
    ------
    TemplateError
        If `folder` does not exist, or holds a template under a name that the package does not know.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._shipped = _templates_in(shipped_folder("lammps_templates"))
        self._own: dict[str, Path] = {}
        if folder is not None:
            if not folder.is_dir():
                raise TemplateError(f"templates folder {folder} does not exist")
            self._own = _templates_in(folder)
        for name in self._own:
            if name not in self._shipped:
                raise TemplateError(f"{self._own[name]}: {self._unknown(name)}")
        self._texts: dict[str, str] = {}
        self._referenced: dict[str, list[str]] = {}

    def catalogue(self) -> list[TemplateInfo]:
        """All templates, by name."""
        return [self.find(name) for name in sorted(self._shipped)]

    def find(self, name: str) -> TemplateInfo:
        """One template; the suffix ``.j2`` may be left out.

        Raises
        ------
        TemplateError
            If there is none of that name; the nearest one is named.
        """
        for candidate in (name, f"{name}{_SUFFIX}"):
            if candidate in self._own:
                return TemplateInfo(candidate, True, self._own[candidate])
            if candidate in self._shipped:
                return TemplateInfo(candidate, False, self._shipped[candidate])
        raise TemplateError(self._unknown(name))

    def source(self, name: str) -> str:
        """Text of one template, read once."""
        found = self.find(name)
        if found.name not in self._texts:
            try:
                self._texts[found.name] = found.path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                raise TemplateError(f"template {found.path} is not UTF-8 text") from None
        return self._texts[found.name]

    def digest(self, name: str) -> str:
        """SHA-256 of one template's text."""
        return hashlib.sha256(self.source(name).encode("utf-8")).hexdigest()

    def copy(self, name: str, folder: Path) -> Path:
        """Copy a template into a folder, under its own path, to be edited there.

        Raises
        ------
        TemplateError
            If there is no such template, or the folder has it already.
        """
        found = self.find(name)
        target = folder / found.name
        if target.exists():
            raise TemplateError(f"{target} exists already and is not overwritten")
        write_text(target, self.source(found.name))
        return target

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Render a template with values.

        Raises
        ------
        TemplateError
            With the template's file, the line and the reason, if it does not render.
        """
        import jinja2

        found = self.find(name)
        try:
            return self._environment.get_template(found.name).render(values)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"template {error.name or found.name}, line {error.lineno}: {error.message}") from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateError(f"template {found.path}{_line_of(error)}: {error}") from None

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 of the templates named and of all that they extend or include, by name."""
        waiting, found = list(names), set[str]()
        while waiting:
            name = self.find(waiting.pop()).name
            if name not in found:
                found.add(name)
                waiting += self._references(name)
        return {name: self.digest(name) for name in sorted(found)}

    def _references(self, name: str) -> list[str]:
        from jinja2 import meta

        if name not in self._referenced:
            named = set(meta.find_referenced_templates(self._environment.parse(self.source(name))))
            self._referenced[name] = sorted(self._shipped) if None in named else [n for n in named if n is not None]
        return self._referenced[name]

    @cached_property
    def _environment(self) -> SandboxedEnvironment:
        import jinja2
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(
            loader=jinja2.FunctionLoader(self.source),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(number=number, shell=shell_quoted, comment=comment_text)
        return environment

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name.removesuffix(_SUFFIX) + _SUFFIX, self._shipped, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(self._shipped))}"
        return f"template {name!r} is not known{hint}"


@cache
def shipped_templates() -> Templates:
    """The templates as shipped, read and compiled once for a process."""
    return Templates()


def number(value: float) -> str:
    """A finite number as LAMMPS reads it, with up to 12 significant digits and no needless zeros."""
    text = f"{float(value):.12g}"
    if not re.fullmatch(r"[-+0-9.e]+", text):
        raise ValueError(f"{value!r} is no finite number")
    return text


def shell_quoted(value: object) -> str:
    """A value as one word of a POSIX shell."""
    text = str(value)
    if "\0" in text:
        raise ValueError("a word with a zero byte cannot stand in a shell script")
    return shlex.quote(text)


def comment_text(value: object) -> str:
    """Text that is safe in one comment line of LAMMPS or of a shell: no line break, no quote, no joining `&`."""
    return " ".join(
        "".join(c if c.isprintable() else " " for c in str(value)).replace("&", "+").replace(chr(34), chr(39)).split()
    )


def _templates_in(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob(f"*{_SUFFIX}"))}


def _line_of(error: BaseException) -> str:
    """Line of the template where rendering failed; Jinja2 puts the template's own lines into the traceback."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
