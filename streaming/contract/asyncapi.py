"""The topics as AsyncAPI 3.0, for tools that draw, check and generate code."""

from typing import Any

from streaming.contract.json_schema import definitions
from streaming.contract.topics import CONTRACTS, JOBS, Contract
from streaming.schemas import SCHEMA_VERSION, FeatureRecord, RequestRecord, Topic

_KAFKA_BINDING = "0.5.0"


def document() -> dict[str, Any]:
    """Return the document. Its application is the jobs: what they receive an app sends, and the other way round."""
    messages = {contract.name: _message(contract) for contract in CONTRACTS.values()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rheostat",
            "version": f"{SCHEMA_VERSION}",
            "description": "Streaming recommendations: clicks, purchases and requests in, slates out. The version is "
            "the messages' `schema_version`. Topics may have a prefix of the deployment's.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrapServers}",
                "protocol": "kafka",
                "variables": {"bootstrapServers": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {topic.value: _channel(topic, contract) for topic, contract in CONTRACTS.items()},
        "operations": dict(
            operation for topic, contract in CONTRACTS.items() for operation in _operations(topic, contract)
        ),
        "components": {
            "messages": messages,
            "schemas": {name: _draft_7(schema) for name, schema in definitions("#/components/schemas/{name}").items()},
        },
    }


def _channel(topic: Topic, contract: Contract) -> dict[str, Any]:
    return {
        "address": topic.value,
        "summary": f"Written by {_listed(contract.writers)}; read by {_listed(contract.readers)}.",
        "messages": {contract.name: {"$ref": f"#/components/messages/{contract.name}"}},
    }


def _operations(topic: Topic, contract: Contract) -> list[tuple[str, dict[str, Any]]]:
    """Return what the jobs do with a topic."""
    sides = {"receive": contract.readers, "send": contract.writers}
    return [
        (
            f"{action}-{topic.value}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.value}"},
                "summary": f"By {_listed([name for name in names if name in JOBS])}.",
                "messages": [{"$ref": f"#/channels/{topic.value}/messages/{contract.name}"}],
            },
        )
        for action, names in sides.items()
        if set(names) & set(JOBS)
    ]


def _message(contract: Contract) -> dict[str, Any]:
    is_packed = contract.message in (FeatureRecord, RequestRecord)
    return {
        "name": contract.name,
        "title": contract.name,
        "summary": (contract.message.__doc__ or "").partition("\n")[0],
        "contentType": "application/vnd.msgpack" if is_packed else "application/json",
        "payload": {"$ref": f"#/components/schemas/{contract.name}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"the {contract.key}"},
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _draft_7(schema: Any) -> Any:
    """Return a schema in the dialect of AsyncAPI: a list of fixed places is `items` there."""
    if isinstance(schema, list):
        return [_draft_7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {name: _draft_7(part) for name, part in schema.items()}
    if "prefixItems" in renamed:
        renamed |= {"items": renamed.pop("prefixItems"), "additionalItems": renamed.get("items", True)}
    return renamed


def _listed(names: Any) -> str:
    return ", ".join(names) or "nobody"
