"""Versions live together: the first records are read for ever, and who reads by the first schema reads the newest ones.

`tests/golden` has both as they were; while SCHEMA_VERSION is 1 they are never changed, only added to.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from fuzz.jobs import Jobs

from features.stores.applied import feast_repo
from infra.docs.topics import examples
from streaming.records import decode, decode_features, decode_request_record, encode
from streaming.schemas import FEATURE_LOG_VERSION, SCHEMA_VERSION, DeadLetter, Message, Origin, Topic

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
RECORDS = [json.loads(line) for line in (GOLDEN / f"records_{SCHEMA_VERSION}.jsonl").read_text().splitlines()]
SCHEMA: dict[str, Any] = json.loads((GOLDEN / f"schema_{SCHEMA_VERSION}.json").read_text())


def read(topic: Topic, key: str, raw: bytes) -> Message | DeadLetter | None:
    if topic is Topic.DEAD_LETTERS:
        return msgspec.json.decode(raw, type=DeadLetter)
    return decode(key, raw, Origin(topic.value, 0, 0))


def valid(topic: Topic, record: Any) -> None:
    """Raise ValidationError if a reader by the first schema refuses it."""
    jsonschema.Draft202012Validator({**SCHEMA, **SCHEMA["topics"][topic.value]}).validate(record)


def says(value: Any, first: Any) -> bool:
    """Return whether `value` has all that `first` has; a later version may have added fields."""
    if isinstance(first, dict):
        return isinstance(value, dict) and all(name in value and says(value[name], of) for name, of in first.items())
    if isinstance(first, list):
        return isinstance(value, list) and len(value) == len(first) and all(map(says, value, first))
    return bool(value == first)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["topic"])
def test_first_records_are_read_as_what_they_say(record: dict[str, str]) -> None:
    topic, raw = Topic(record["topic"]), record["record"].encode()
    message = read(topic, record["key"], raw)
    assert topic is Topic.DEAD_LETTERS or not isinstance(message, DeadLetter), message
    assert message is not None
    again = json.loads(msgspec.json.encode(message))
    assert says(again, json.loads(raw)), again
    valid(topic, json.loads(raw))


def test_first_records_are_taken_by_the_newest_jobs(tmp_path: Path) -> None:
    jobs = Jobs(feast_repo(tmp_path / "repo"))
    for record in RECORDS:
        if record["topic"] != Topic.DEAD_LETTERS:
            jobs.send(Topic(record["topic"]), record["key"], record["record"].encode())
    assert not jobs.letters, jobs.letters


OF_VERSION_1 = sorted(examples().keys() - {Topic.FEATURE_LOG, Topic.REQUEST_LOG})  # their readers are the jobs'


@pytest.mark.parametrize("topic", OF_VERSION_1)
def test_newest_records_are_read_by_the_first_schema(topic: Topic) -> None:
    record = json.loads(encode(examples()[topic]))
    valid(topic, record)
    valid(topic, record | {"of_tomorrow": {"deep": [1, 2]}})


def test_second_version_of_the_feature_log_is_read_as_what_it_says() -> None:
    raw = (GOLDEN / "feature_log_2.msgpack").read_bytes()
    message = decode_features(raw)
    assert message.schema_version == FEATURE_LOG_VERSION
    assert says(msgspec.msgpack.decode(encode(message)), msgspec.msgpack.decode(raw))


def test_reader_by_the_first_schema_refuses_what_it_must() -> None:
    click = json.loads(encode(examples()[Topic.CLICKS]))
    for fault in ({"event_time_ms": 1_700_000_000}, {"kind": "glance"}, {"schema_version": SCHEMA_VERSION + 1}):
        with pytest.raises(jsonschema.ValidationError):
            valid(Topic.CLICKS, click | fault)


def test_first_record_of_the_request_log_is_read_as_what_it_says() -> None:
    raw = (GOLDEN / "request_log_1.msgpack").read_bytes()
    message = decode_request_record(raw)
    assert says(msgspec.msgpack.decode(encode(message)), msgspec.msgpack.decode(raw))
