"""Records that cannot be used: what is kept of them, and what is said."""

import base64
import gzip
import hashlib
import json
import pickle
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from support.records import feature_record, views

from features.interaction import KINDS
from features.interest import Strongest
from features.spec import CONTENT_DIM, LATEST_MS, WINDOWS
from streaming.records import RAW_KEPT, RECORD_AT_MOST, dead_letter_record, decode, encode, failed, invalid, now_ms
from streaming.schemas import Click, DeadLetter, Fallback, Item, Origin, Outcome, Policy, Purchase, Reason, Topic

CLICK = (
    b'{"schema_version":1,"event_id":"e1","shopper_id":"s1","session_id":"x","item_id":"i1",'
    b'"event_time_ms":1700000000000,"kind":"view","device":"phone","consent":true,"rec_id":null}'
)


NOW_MS = 1_700_000_000_000


def at(topic: Topic) -> Origin:
    return Origin(topic, 1, 42)


def test_golden_bytes_of_version_1_decode_and_encode_to_the_same() -> None:
    click = decode("s1", CLICK, at(Topic.CLICKS))
    assert isinstance(click, Click)
    assert encode(click) == CLICK


def test_purchase_and_policy_decode() -> None:
    purchase = Purchase(
        event_id="e", shopper_id="s", session_id="x", item_id="i", event_time_ms=NOW_MS, order_id="o", price=2.5
    )
    policy = Policy(version=3, author="me", weights={"revenue": 2.0})
    assert decode("s", encode(purchase), at(Topic.PURCHASES)) == purchase
    assert decode("global", encode(policy), at(Topic.POLICIES)) == policy


@pytest.mark.parametrize(
    ("raw", "reason", "word"),
    [
        (b"not json", Reason.UNDECODABLE, "malformed"),
        (b"\xff\xfe", Reason.UNDECODABLE, ""),
        (b"", Reason.UNDECODABLE, "truncated"),
        (CLICK.replace(b'"view"', b'"glance"'), Reason.INVALID, "glance"),
        (CLICK.replace(b"1700000000000", b'"yesterday"'), Reason.INVALID, "int"),
        (CLICK.replace(b"1700000000000", b"-1"), Reason.INVALID, ">= 946684800000"),
        (CLICK.replace(b'"item_id":"i1",', b""), Reason.INVALID, "item_id"),
        (CLICK.replace(b'"schema_version":1', b'"schema_version":2'), Reason.INVALID, "schema_version"),
    ],
)
def test_bad_record_becomes_a_dead_letter_with_its_origin_and_bytes(raw: bytes, reason: Reason, word: str) -> None:
    letter = decode("s1", raw, at(Topic.CLICKS))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.origin, letter.raw) == (reason, at(Topic.CLICKS), raw)
    assert abs(letter.time_ms - now_ms()) < 60_000
    assert word in letter.error
    assert msgspec.json.decode(encode(letter), type=DeadLetter) == letter


@pytest.mark.parametrize(("raw", "topic", "key"), [(CLICK, Topic.CLICKS, "s1")])
def test_record_of_a_schema_registrys_json_serializer_is_read_as_plain_json(raw: bytes, topic: Topic, key: str) -> None:
    framed = b"\0\0\0\x12\x7b" + raw
    assert decode(key, framed, at(topic)) == decode(key, raw, at(topic))
    letter = refused(framed.replace(b"view", b"stare"), topic, key)
    assert (letter.reason, letter.raw[:5]) == (Reason.INVALID, b"\0\0\0\x12\x7b")
    assert "a schema's number before it" in refused(framed, topic, f"\0\0\0\0\x01{key}").error


def test_record_under_another_key_than_its_own_is_refused() -> None:
    letter = decode("s2", CLICK, at(Topic.CLICKS))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.error) == (Reason.INVALID, "the record's key is 's2', expected 's1'")


def test_null_is_a_tombstone_on_a_compacted_topic_and_a_bad_record_elsewhere() -> None:
    assert decode("i1", None, at(Topic.ITEMS)) is None
    letter = decode("s1", None, at(Topic.CLICKS))
    assert isinstance(letter, DeadLetter)
    assert letter.raw == b""


def refused(raw: bytes, topic: Topic = Topic.CLICKS, key: str = "s1") -> DeadLetter:
    letter = decode(key, raw, at(topic))
    assert isinstance(letter, DeadLetter), letter
    return letter


def click(**fields: Any) -> bytes:
    return json.dumps(json.loads(CLICK) | fields).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\0\0\0\0\x07\x02\x0ce1", "Confluent's wire format"),
        (b"Obj\x01\x04\x14avro.codec", "Avro file"),
        (gzip.compress(CLICK), "looks compressed"),
        (pickle.dumps({"event_id": "e1"}), "pickle of Python"),
        (msgspec.msgpack.encode({"event_id": "e1"}), "MessagePack"),
        (CLICK.decode().encode("utf-16"), "UTF-16"),
        (CLICK.decode().encode("utf-16-le"), "UTF-16"),
        (b"\xef\xbb\xbf" + CLICK, "byte order mark"),
        (click(item_id="Caf\u00e9").replace(b"\\u00e9", b"\xe9"), "not UTF-8: latin-1"),
        (b"<click/>", "XML"),
        (str(json.loads(CLICK)).encode(), "dict of Python"),
        (base64.b64encode(CLICK), "base64"),
        (CLICK + b"\n" + CLICK, "several lines of JSON"),
        (CLICK[:-9], "cut off"),
        (CLICK.replace(b"1700000000000", b"NaN"), "no NaN"),
        (b"e1,s1,x,i1,1700000000000,view", "line of CSV"),
        (b"", "it is empty"),
        (b'{"a":' + b"[" * 100_000, "cut off"),
        (b"[" + CLICK + b"]", "array of 1"),
        (json.dumps(CLICK.decode()).encode(), "encoded twice"),
        (b"null", "send a JSON object"),
        (json.dumps({"before": None, "after": json.loads(CLICK), "op": "c"}).encode(), "Debezium"),
        (json.dumps({"schema": {}, "payload": {"after": json.loads(CLICK), "op": "c"}}).encode(), "Debezium"),
        (json.dumps({"schema": {}, "payload": json.loads(CLICK)}).encode(), "Kafka Connect's envelope"),
        (json.dumps({"specversion": "1.0", "type": "c", "data": json.loads(CLICK)}).encode(), "CloudEvent"),
        (json.dumps({"eventId": "e1", "shopperId": "s1"}).encode(), "'event_id'"),
        (click(event_time_ms=1_700_000_000), "looks like seconds"),
        (click(event_time_ms=1_700_000_000.5), "looks like seconds"),
        (click(event_time_ms=1_700_000_000_000_000), "looks like microseconds"),
        (click(event_time_ms=1_700_000_000_000_000_000), "looks like nanoseconds"),
        (click(event_time_ms="2026-11-27T06:53:45Z"), "a number"),
    ],
)
def test_letter_says_what_a_record_looks_like(raw: bytes, said: str) -> None:
    assert said in refused(raw).error


def test_item_with_a_time_in_nanoseconds_is_refused_with_its_unit() -> None:
    raw = b'{"item_id":"i","name":"n","category":"c","price":1.0,"updated_time_ms":1764230000000000000}'
    assert "nanoseconds" in refused(raw, Topic.ITEMS, "i").error


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        (Topic.PURCHASES, {"quantity": 2**64}),
        (Topic.PURCHASES, {"price": 1e300}),
        (Topic.PURCHASES, {"quantity": 0}),
        (Topic.CLICKS, {"event_time_ms": 2**64}),
        (Topic.CLICKS, {"event_time_ms": 0}),
        (Topic.CLICKS, {"item_id": "x" * 257}),
    ],
)
def test_numbers_beyond_what_readers_hold_are_refused(topic: Topic, fields: dict[str, Any]) -> None:
    order = {"order_id": "o"} if topic is Topic.PURCHASES else {}
    assert refused(click(**order, **fields), topic).reason is Reason.INVALID


@pytest.mark.parametrize("scope", ["global\n", "surface:", "surface:a\n", "shelf:a", "surface:" + "x" * 201])
def test_scope_is_one_that_exists(scope: str) -> None:
    raw = json.dumps({"scope": scope, "version": 1, "author": "a"}).encode()
    assert refused(raw, Topic.POLICIES, scope).reason is Reason.INVALID


def test_every_scope_that_can_be_constrained_has_a_controller_that_can_be_written() -> None:
    policy = Policy(scope="controller:surface:" + "x" * 200, version=1, author="learn", duals={"c": 1.0})
    assert decode(policy.scope, encode(policy), at(Topic.POLICIES)) == policy


def test_what_a_reader_does_not_know_it_ignores() -> None:
    assert decode("s1", click(sku=1, nested={"a": [1]}), at(Topic.CLICKS)) == decode("s1", CLICK, at(Topic.CLICKS))
    outcome = Outcome(
        rec_id="r",
        shopper_id="s1",
        surface="home",
        event_time_ms=NOW_MS,
        policy_version=1,
        policy_scope="global",
        model_version="m",
        fallback=Fallback.NONE,
        items=(),
    )
    newer = decode("s1", encode(outcome).replace(b'"none"', b'"of_tomorrow"'), at(Topic.OUTCOMES))
    assert newer == msgspec.structs.replace(outcome, fallback=Fallback.OTHER)


def test_stock_below_zero_is_a_stock() -> None:
    item = decode("i", b'{"item_id":"i","name":"n","category":"c","stock":-1}', at(Topic.ITEMS))
    assert isinstance(item, Item)
    assert item.stock == -1


@pytest.mark.parametrize(
    "raw", [b"x" * 900_000, b'"' + b"\0" * 999_000, json.dumps({"\u0001" * 100: "a" * 900_000}).encode()]
)
def test_letter_of_a_large_record_fits_the_broker(raw: bytes) -> None:
    letter = refused(raw)
    topic, key, value = dead_letter_record(letter)
    assert len(topic) + len(key) + len(value) < RECORD_AT_MOST
    assert (letter.raw, letter.raw_length) == (raw[:RAW_KEPT], len(raw))
    assert letter.raw_sha256 == hashlib.sha256(raw).hexdigest()
    huge = "\u0001" * 900_000
    assert len(encode(invalid(at(Topic.CLICKS), huge, raw))) < RECORD_AT_MOST
    assert len(encode(failed(at(Topic.CLICKS), ValueError(huge), raw))) < RECORD_AT_MOST
    assert len(encode(refused(CLICK, key=huge))) < RECORD_AT_MOST


@pytest.mark.parametrize(
    "raw",
    [
        click(consent=False, kind="glance"),
        click(consent="false"),
        click(consent=None),
        click(consent=0),
        click(consent=False, shopper_id=""),
        click(consent=False)[:-1],
        json.dumps({"payload": json.loads(click(consent=False))}).encode(),
        json.dumps(click(consent=False).decode()).encode(),
        b"[" + click(consent=False) + b"]",
        str(json.loads(click(consent=False))).encode(),
        click(consent=False).decode().encode("utf-16"),
        b"\0\0\0\0\x07" + click(consent=False, event_id=7),
        click(consent=False, event_time_ms=1_700_000_000),
    ],
)
def test_nothing_is_kept_of_a_refused_record_without_consent(raw: bytes) -> None:
    letter = refused(raw)
    assert (letter.raw, letter.raw_length, letter.raw_sha256) == (b"", None, None)
    assert not any(said in letter.error for said in ("s1", "e1", "i1", "glance", "1700000000"))
    assert "no consent" in letter.error
    raised = failed(at(Topic.CLICKS), KeyError("s1"), raw)
    assert (raised.raw, "s1" in raised.error, "KeyError" in raised.error) == (b"", False, True)


def test_key_of_another_shopper_is_not_said_without_consent() -> None:
    letter = refused(click(consent=False), key="s2")
    assert (letter.raw, "s1" in letter.error, "s2" in letter.error) == (b"", False, False)


def test_consent_in_a_text_is_no_refusal_of_it() -> None:
    assert refused(click(item_id="consent: none", kind="glance")).raw
    assert refused(click(consent=True, kind="glance")).raw


def test_path_of_the_field_is_said_without_consent() -> None:
    assert "`$.kind`" in refused(click(consent=False, kind="glance")).error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_time_ms", LATEST_MS + 1),
        ("session_counts", ()),
        ("session_counts", (0,) * len(KINDS) + (1,)),
        ("session_counts", (0,) * (len(KINDS) - 1) + (2**63,)),
        ("recent_items", ("i1", "i2")),
        ("recent_kinds", ("stolen",)),
        ("recent_age_ms", (2**63,)),
        ("window_counts", ()),
        ("window_counts", ((),)),
        ("window_counts", ((2**63,) * len(KINDS),) * len(WINDOWS)),
        ("short_interest", Strongest(("tea",), ())),
        ("long_interests", ()),
        ("content_interest", (0.0,) * (CONTENT_DIM + 1)),
        ("collaborative_items", ("i1",)),
        ("purchase_count", -(2**63) - 1),
    ],
)
def test_row_that_the_job_does_not_make_is_refused_by_its_column(name: str, value: Any) -> None:
    record = feature_record(views("s1", NOW_MS))
    assert decode("s1", encode(record), at(Topic.FEATURE_LOG)) == record
    wrong = msgspec.json.encode(msgspec.structs.replace(record, row=replace(record.row, **{name: value})))
    letter = decode("s1", wrong, at(Topic.FEATURE_LOG))
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.INVALID
    assert name in letter.error
