"""Files that a user writes: read as YAML, checked by a pydantic model, refused with one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from napos_lmp.errors import NaposError

Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key that is given twice is an error."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key is not a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def read_yaml(path: Path, error_class: type[NaposError]) -> Any:
    """Content of a YAML file, safe-loaded, with repeated keys refused.

    Raises
    ------
    NaposError
        An `error_class`, if the file is missing, unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise error_class(f"{path} cannot be read: {reason}") from None
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader with one more check
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it is not YAML"
        raise error_class(f"{path}{where}: {reason}") from None


def read_yaml_model(path: Path, model: type[Model], error_class: type[NaposError]) -> Model:
    """Read a YAML file into a pydantic model.

    Raises
    ------
    NaposError
        An `error_class` whose one sentence names the file, the field, its value and what is allowed; for an unknown
        key also the nearest known one.
    """
    return check_model(read_yaml(path, error_class), model, error_class, str(path))


def check_model(data: Any, model: type[Model], error_class: type[NaposError], where: str) -> Model:
    """Check plain data against a pydantic model; `where` begins the sentence of the error, see `read_yaml_model`."""
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        raise error_class(f"{where}: a mapping of keys to values is expected, found {found}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise error_class(f"{where}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a pydantic validation in one sentence: field, value, what is allowed.

    Unknown keys come before all else, because they often cause the other problems.
    """
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    if problem["type"] == "extra_forbidden":
        names, models = _follow(model, problem["loc"][:-1])
        return _unknown_key(".".join(names), str(problem["loc"][-1]), models)
    names, models = _follow(model, problem["loc"])
    field = ".".join(names)
    if problem["type"] == "missing":
        return f"{field} is missing"
    if problem["type"] == "union_tag_not_found":
        return f"{field}.{_discriminator(problem)} is missing"
    message = _message(problem)
    value = problem["input"]
    if not names:
        return message
    return f"{field}: {message}" if isinstance(value, dict | list) else f"{field} is {value!r}: {message}"


def _message(problem: ErrorDetails) -> str:
    if problem["type"] == "union_tag_invalid":
        context = problem.get("ctx", {})
        return f"{_discriminator(problem)} {context.get('tag')!r} is not one of {context.get('expected_tags')}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"it {message.removeprefix('Input ')}" if message.startswith("Input should") else message


def _discriminator(problem: ErrorDetails) -> str:
    return str(problem.get("ctx", {}).get("discriminator", "kind")).strip("'")


def _unknown_key(place: str, key: str, models: list[type[BaseModel]]) -> str:
    known = list(dict.fromkeys(name for model in models for name in model.model_fields))
    where = f" in {place}" if place else ""
    begun = [name for name in known if name.startswith(f"{key}_")]
    if near := begun[:1] or difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"{key!r} is not a known key{where}; did you mean {near[0]!r}?"
    return f"{key!r} is not a known key{where}" + (f"; known are {', '.join(known)}" if known else "")


def _follow(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """Walk pydantic's location through fields, lists and unions.

    Returns the path as the user wrote it, without the tags that pydantic adds for the members of a union, and the
    models that may stand at its end.
    """
    names: list[str] = []
    models: list[type[BaseModel]] = [model]
    for part in location:
        inside = [m for c in models if part in c.model_fields for m in _models_in(c.model_fields[str(part)].annotation)]
        tagged = [c for c in models if part == c.__name__ or part in _tags_of(c)]
        is_field = any(part in c.model_fields for c in models)
        if isinstance(part, int) or is_field or not tagged:
            names.append(str(part))
        models = inside if is_field else tagged or models
    return names, models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _tags_of(model: type[BaseModel]) -> set[Any]:
    return {
        value
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for value in get_args(field.annotation)
    }
