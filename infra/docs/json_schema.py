"""`python -m infra.docs.json_schema > docs/topics.schema.json`: the messages for tools that check and generate code."""

import json
import sys
from typing import Any

import msgspec

from infra.docs.topics import MESSAGES
from streaming import schemas
from streaming.schemas import SCHEMA_VERSION


def schema() -> dict[str, Any]:
    """Return JSON Schema, draft 2020-12: each message under `$defs`, and which of them each topic holds."""
    names = sorted({name for name, *_ in MESSAGES.values()})
    _, definitions = msgspec.json.schema_components(
        [getattr(schemas, name) for name in names], ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        if "other" in definition.get("enum", ()):  # a reader takes words that it does not know for that one
            del definition["enum"]
            definition["type"] = "string"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Rheostat's topics, schema_version {SCHEMA_VERSION}",
        "topics": {topic.value: {"$ref": f"#/$defs/{name}"} for topic, (name, *_) in MESSAGES.items()},
        "$defs": definitions,
    }


def text() -> str:
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
