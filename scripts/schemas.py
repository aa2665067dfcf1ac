"""Write the JSON Schema of `run.json` from the record's own types: docs/reference/run.schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from moeclip_med.scoring.record import ScoringRecord

OUTPUT = Path(__file__).parents[1] / "docs" / "reference" / "run.schema.json"
_TEXT = {"type": "string"}
_RESULT = {
    "type": "object",
    "properties": {
        "peak_score": {"type": "number", "minimum": 0, "maximum": 1},
        "is_complete": {"type": "boolean"},
        "findings": {"type": "integer", "minimum": 0},
        "notes": {"type": "array", "items": _TEXT},
    },
    "required": ["peak_score", "is_complete", "findings", "notes"],
}


def run_schema() -> dict[str, Any]:
    """Return the schema: the record's, and what is written around it."""
    record = msgspec.json.schema(ScoringRecord)
    definitions = record["$defs"]
    for definition in definitions.values():
        definition["description"] = definition["description"].split("\n")[0]
    schema = definitions.pop("ScoringRecord")
    schema["properties"] |= {
        "format": {"const": "moeclip-med run"},
        "intended_use": _TEXT,
        "written_by": _TEXT,
        "result": _RESULT,
    }
    schema["required"] += ["format", "intended_use", "written_by", "result"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "run.json",
        "$defs": definitions,
    }


if __name__ == "__main__":
    OUTPUT.write_text(json.dumps(run_schema(), indent=2) + "\n", encoding="utf-8", newline="\n")
