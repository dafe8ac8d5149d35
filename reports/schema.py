"""The published JSON Schema of ``result.json``: ``python -m brokerbench.reports.schema docs/result.schema.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from brokerbench.scenarios import results


def text() -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **results.json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
