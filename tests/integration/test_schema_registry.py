"""Our schemas in a real schema registry, and a record as its JSON serializer frames it."""

import json
import urllib.request
from collections.abc import Iterator

import jsonschema
import pytest

from features.errors import SchemaRegistryError
from infra.local.registry import local_registry
from streaming.config import Cluster
from streaming.contract.topics import FROM_OUTSIDE
from streaming.io.schema_registry import register
from streaming.records import decode, encode, key_of
from streaming.schemas import Click, ClickKind, Origin, Topic

pytestmark = pytest.mark.nightly
CLICK = Click(
    event_id="e1", shopper_id="s1", session_id="x", item_id="i1", event_time_ms=1_700_000_000_000, kind=ClickKind.VIEW
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


def test_schemas_are_registered_once_and_take_what_our_types_take(registry: str) -> None:
    shop = Cluster("", "shop.")
    numbers = register(registry, shop)
    assert list(numbers) == [f"shop.{topic}-value" for topic in FROM_OUTSIDE]
    assert register(registry, shop) == numbers
    number = numbers["shop.clicks-value"]
    with urllib.request.urlopen(f"{registry}/schemas/ids/{number}") as response:
        registered = json.load(response)
    assert registered["schemaType"] == "JSON"
    schema = json.loads(registered["schema"])
    jsonschema.validate(json.loads(encode(CLICK)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"event_id": "e1"}, schema)
    framed = b"\0" + number.to_bytes(4, "big") + encode(CLICK)
    assert decode(key_of(CLICK), framed, Origin(Topic.CLICKS, 0, 0)) == CLICK


def test_what_is_no_registry_is_named(registry: str) -> None:
    with pytest.raises(SchemaRegistryError, match="does not take clicks-value: 404"):
        register(f"{registry}/nowhere", Cluster(""))
    with pytest.raises(SchemaRegistryError, match=r"no schema registry answers at http://127\.0\.0\.1:1: "):
        register("http://127.0.0.1:1", Cluster(""))
