"""The messages as JSON Schema, draft 2020-12, for tools that check and generate code."""

from typing import Any

import msgspec

from streaming.contract.topics import CONTRACTS
from streaming.schemas import SCHEMA_VERSION, Topic

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def definitions(ref_template: str) -> dict[str, Any]:
    """Return every message and its parts by name; `ref_template` says how they name each other."""
    messages = sorted({contract.message for contract in CONTRACTS.values()}, key=lambda message: message.__name__)
    _, defined = msgspec.json.schema_components(messages, ref_template=ref_template)
    for definition in defined.values():
        if "other" in definition.get("enum", ()):  # a reader takes words that it does not know for that one
            del definition["enum"]
            definition["type"] = "string"
    return defined


def of_all() -> dict[str, Any]:
    """Return one schema: each message under `$defs`, and which of them each topic holds."""
    return {
        "$schema": _DIALECT,
        "title": f"Rheostat's topics, schema_version {SCHEMA_VERSION}",
        "topics": {topic.value: {"$ref": f"#/$defs/{of.name}"} for topic, of in CONTRACTS.items()},
        "$defs": definitions("#/$defs/{name}"),
    }


def of_topic(topic: Topic) -> dict[str, Any]:
    """Return the schema of a topic's records, with what it takes alone."""
    name, defined = CONTRACTS[topic].name, definitions("#/$defs/{name}")
    needed: dict[str, Any] = {}
    open_names = [name]
    while open_names:
        if (of := open_names.pop()) not in needed:
            needed[of] = defined[of]
            open_names += _named(defined[of])
    return {"$schema": _DIALECT, "title": f"Records of {topic.value}", "$ref": f"#/$defs/{name}", "$defs": needed}


def _named(schema: Any) -> list[str]:
    """Return the definitions that a schema refers to."""
    if isinstance(schema, list):
        return [name for part in schema for name in _named(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else []
    return own + [name for part in schema.values() for name in _named(part)]
