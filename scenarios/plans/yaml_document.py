"""Reads what a person wrote: YAML into a strict pydantic model, with errors that name file, line and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
Place = Sequence[str | int]
"""A path into a document: keys and list indices."""


class DocumentError(ValueError):
    """One clear message: ``file, line n: what is wrong; what would be right``."""


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean ...?`` where something is near, else the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """A read document, and where each of its parts stands in the file."""

    path: Path
    value: M
    _root: yaml.Node

    def error(self, place: Place, message: str) -> DocumentError:
        """An error about the part at ``place``."""
        return DocumentError(f"{self.path}, line {_line(self._root, place)}: {message}")


def read(path: Path, model: type[M]) -> Document[M]:
    """Raises DocumentError for a file that is missing, no YAML, or not of the model."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentError(f"{path}, line {line}: not YAML: {_without_values(error.problem)}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: not YAML: {error}") from None
    if root is None:
        raise DocumentError(f"{path}: the file is empty")
    _refuse_duplicate_keys(path, root)
    try:
        return Document(path, model.model_validate(content), root)
    except ValidationError as error:
        # A misspelt key is both unknown and missing: the unknown one stands in the file, so it is named.
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        place = first["loc"]
        raise DocumentError(f"{path}, line {_line(root, place)}: {_explain(first, place, model)}") from None


def _without_values(problem: str | None) -> str:
    """PyYAML repeats aliases and tags, which a password that begins with * or ! is taken for."""
    return re.sub(r"'[^'<][^']+'", "'***'", problem or "unreadable")


def _explain(error: object, place: Place, model: type[BaseModel]) -> str:
    assert isinstance(error, dict)
    where = ".".join(map(str, place)) or "the document"
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, place[:-1])
        return f"unknown key {place[-1]!r}; {suggest(str(place[-1]), known)}"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {error['msg']}"


def _fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """Field names of the model that stands at ``place`` (follows lists and nested models)."""
    current = model
    for step in place:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step)
        inner = _model_inside(field.annotation) if field else None
        if inner is None:
            return []
        current = inner
    return list(current.model_fields)


def _model_inside(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_inside(argument)
        if found is not None:
            return found
    return None


def _line(node: yaml.Node, place: Place) -> int:
    """Line of the deepest part of ``place`` that exists, counted from 1."""
    line = node.start_mark.line + 1
    for step in place:
        found = _child(node, step)
        if found is None:
            break
        node, line = found
    return line


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child = node.value[step]
        return child, child.start_mark.line + 1
    return None


def _refuse_duplicate_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise DocumentError(f"{path}, line {key.start_mark.line + 1}: key {key.value!r} stands twice")
            seen.add(key.value)
            _refuse_duplicate_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicate_keys(path, value)
