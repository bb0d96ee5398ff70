"""Puts the schemas of what comes from outside into a schema registry (Confluent's REST API), for its producers."""

import base64
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from features.errors import SchemaRegistryError
from streaming.config import Cluster
from streaming.contract.json_schema import of_topic
from streaming.contract.topics import FROM_OUTSIDE

TIMEOUT_S = 30.0
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


def register(url: str, cluster: Cluster, user_info: str | None = None, authority: Path | None = None) -> dict[str, int]:
    """Register the JSON Schema of every topic that others write, as the subject TOPIC-value; return their numbers.

    One that is there as it is keeps its number.

    Args:
        url: of the registry.
        cluster: whose prefix the topics' names have.
        user_info: `name:password`; None: it lets everybody in.
        authority: certificates that its own is signed with; None: the system's.

    Raises:
        SchemaRegistryError: it does not answer, lets us not in, or finds a schema at odds with the one before.
    """
    headers = {"Content-Type": CONTENT_TYPE}
    if user_info is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(user_info.encode()).decode()}"
    context = None if authority is None else ssl.create_default_context(cafile=str(authority))
    numbers = {}
    for topic in FROM_OUTSIDE:
        subject = f"{cluster.topic(topic)}-value"
        body = {"schemaType": "JSON", "schema": json.dumps(of_topic(topic))}
        request = Request(
            f"{url.rstrip('/')}/subjects/{quote(subject, safe='')}/versions", json.dumps(body).encode(), headers
        )
        numbers[subject] = int(_answer(request, context, url, subject)["id"])
    return numbers


def _answer(request: Request, context: ssl.SSLContext | None, url: str, subject: str) -> Any:
    try:
        with urlopen(request, timeout=TIMEOUT_S, context=context) as response:
            return json.load(response)
    except HTTPError as error:
        said = error.read().decode(errors="replace")[:2_000]
        msg = f"the schema registry at {url} does not take {subject}: {error.code} {said or error.reason}"
        raise SchemaRegistryError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"no schema registry answers at {url}: {getattr(error, 'reason', error)}"
        raise SchemaRegistryError(msg) from error
