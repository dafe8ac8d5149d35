"""The published schema is the model's, and a result validates against it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from brokerbench.reports import schema
from brokerbench.scenarios import results
from tests.reports import sample

PUBLISHED = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_the_published_schema_is_that_of_the_model() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema.text(), (
        "write it anew: python -m brokerbench.reports.schema docs/result.schema.json"
    )


def test_a_result_validates_against_the_published_schema() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(json.loads(results.dump(sample.result())), published)
