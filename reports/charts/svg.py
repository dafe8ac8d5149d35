"""Pictures as SVG, and the check that a committed picture still shows its data.

The width of a text depends on the machine's fonts, so the bytes of a picture are not comparable across machines. Its
first line therefore carries two hashes: one of the specification with its data, which must follow from the evidence,
and one of the drawing itself, which shows that it was not edited.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vl_convert

Spec = Mapping[str, Any]
_HEAD = re.compile(r"<!-- brokerbench: data sha256 ([0-9a-f]{64}), drawing sha256 ([0-9a-f]{64}) -->\n")


def draw(spec: Spec) -> str:
    drawing: str = vl_convert.vegalite_to_svg(dict(spec)).strip() + "\n"
    return f"<!-- brokerbench: data sha256 {data_hash(spec)}, drawing sha256 {_sha256(drawing)} -->\n{drawing}"


def check(path: Path, spec: Spec) -> list[str]:
    """Problems of a committed picture, each a sentence."""
    if not path.exists():
        return [f"{path} is missing"]
    text = path.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        return [f"{path} was not written by brokerbench"]
    if head[1] != data_hash(spec):
        return [f"{path} does not show the data of its evidence"]
    return [] if head[2] == _sha256(text[head.end() :]) else [f"{path} was edited"]


def data_hash(spec: Spec) -> str:
    """Hash of the content, whatever version of Vega-Lite draws it."""
    content = {key: value for key, value in spec.items() if key != "$schema"}
    return _sha256(json.dumps(content, sort_keys=True, allow_nan=False))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
