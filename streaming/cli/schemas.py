"""`rheostat schemas`: what the topics and the door take and give, for tools."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streaming.cli.options import AsJson, print_json, printer, say


def schemas(
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder; made where it is not there.")],
    as_json: AsJson = False,
) -> None:
    """Write JSON Schemas of all topics, an AsyncAPI document of them, and the OpenAPI document of the HTTP door.

    `topics.schema.json` has all messages, TOPIC.schema.json one topic's alone.

    Example: rheostat schemas --out schemas
    """
    from streaming.contract import asyncapi, json_schema
    from streaming.schemas import Topic
    from streaming.serve import openapi

    documents = {
        "topics.schema.json": json_schema.of_all(),
        "asyncapi.json": asyncapi.document(),
        "openapi.json": openapi.document(),
        **{f"{topic.value}.schema.json": json_schema.of_topic(topic) for topic in Topic},
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (out / name).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    say(f"{len(documents)} documents in {out}", printer(as_json))
    print_json({"folder": str(out), "documents": sorted(documents)}, as_json)
