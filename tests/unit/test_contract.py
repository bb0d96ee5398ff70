"""What tools are told of the topics: it is valid by their own schemas, and so are the messages by it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from infra.docs.topics import examples
from streaming.cli.main import app
from streaming.contract.topics import CONTRACTS, JOBS
from streaming.records import encode
from streaming.schemas import FeatureRecord, RequestRecord, Topic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("schemas") / "new"
    result = CliRunner().invoke(app, ["schemas", "--out", str(out), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1])["documents"] == sorted(path.name for path in out.iterdir())
    return out


@pytest.mark.parametrize("name", ["topics.schema.json", "asyncapi.json"])
def test_published_documents_are_current(name: str, folder: Path) -> None:
    assert (ROOT / "docs" / name).read_bytes() == (folder / name).read_bytes(), "make docs"


@pytest.mark.parametrize("topic", Topic)
def test_schema_of_a_topic_takes_its_records_and_nothing_else(topic: Topic, folder: Path) -> None:
    schema = json.loads((folder / f"{topic.value}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    message = CONTRACTS[topic].message
    record: Any = None
    if message not in (FeatureRecord, RequestRecord):  # which are no JSON
        record = json.loads(encode(next(of for of in examples().values() if isinstance(of, message))))
        validator.validate(record)
    for wrong in (None, [], {}, *([{**record, "schema_version": 99}] if record else [])):
        assert not validator.is_valid(wrong)


def test_asyncapi_says_what_jobs_receive_and_send(folder: Path) -> None:
    said = json.loads((folder / "asyncapi.json").read_text(encoding="utf-8"))
    assert said["channels"].keys() == {topic.value for topic in Topic}
    for topic, contract in CONTRACTS.items():
        of_topic = {name for name in said["operations"] if name.partition("-")[2] == topic.value}
        expected = {f"receive-{topic.value}"} if set(contract.readers) & set(JOBS) else set()
        assert of_topic == expected | ({f"send-{topic.value}"} if set(contract.writers) & set(JOBS) else set())
    schemas = {"components": said["components"]}
    for message in examples().values():
        if not isinstance(message, FeatureRecord | RequestRecord):
            of = schemas | {"$ref": f"#/components/schemas/{type(message).__name__}"}
            jsonschema.Draft7Validator(of).validate(json.loads(encode(message)))
