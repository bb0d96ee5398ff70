"""What a record that cannot be read looks like, and what its producer is to set. Others decide what is refused."""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from features.spec import LATEST_MS, OLDEST_MS

LOOKED_AT = 4096  # bytes of a record, from its start
_LARGEST_TIME = LATEST_MS * 10**6  # in nanoseconds
_UNITS = {"seconds": 1_000.0, "microseconds": 1e-3, "nanoseconds": 1e-6}  # milliseconds of each
_PLAIN_JSON = (
    "Kafka Connect's value.converter=org.apache.kafka.connect.json.JsonConverter with "
    "value.converter.schemas.enable=false does so"
)


class Format(NamedTuple):
    is_it: Callable[[bytes], bool]
    remedy: str  # what it looks like, and what to do


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda raw: raw.startswith(magic)


def _matches(pattern: bytes) -> Callable[[bytes], bool]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda raw: compiled.match(raw) is not None


def _is_utf16(raw: bytes) -> bool:
    return (
        raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or raw[1:8:2] == b"\0" * 4 or raw[:7:2] == b"\0" * 4
    )


def _is_not_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.end < LOOKED_AT - 4  # or it is a character that was cut in two
    return False


def _is_csv(raw: bytes) -> bool:
    return not re.search(rb"[{\[]", raw) and any(raw.count(separator) > 1 for separator in (b",", b";", b"\t"))


_FORMATS = (
    Format(lambda raw: not raw, "it is empty: no value was sent, or a tombstone on a topic that has none"),
    Format(_is_utf16, "it looks like UTF-16; send UTF-8"),
    Format(_starts(codecs.BOM_UTF8), "it begins with a byte order mark; send UTF-8 without one (utf-8, not utf-8-sig)"),
    Format(
        lambda raw: raw[:1] == b"\0" and len(raw) > 5,
        "it looks like Confluent's wire format (magic byte 0, then the number of a schema) of Avro or Protobuf; of "
        "JSON Schema it is read (KafkaJsonSchemaSerializer), as is plain JSON: " + _PLAIN_JSON,
    ),
    Format(_starts(b"Obj\x01"), "it looks like an Avro file; send plain JSON, one record a message"),
    Format(
        _starts(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xff\x06\x00\x00sNaPpY", b"\x82SNAPPY"),
        "it looks compressed; send plain JSON and let Kafka compress (compression.type of the producer)",
    ),
    Format(_starts(b"\xac\xed\x00"), "it looks like a serialized object of Java; send plain JSON (StringSerializer)"),
    Format(_matches(rb"\x80[\x02-\x05]"), "it looks like a pickle of Python; send json.dumps(...).encode()"),
    Format(_matches(rb"[\x80-\x8f\xde\xdf].{0,4}[\xa1-\xbf\xd9][\x20-\x7e]"), "it looks like MessagePack; send JSON"),
    Format(_matches(rb"\s*<"), "it looks like XML; send JSON"),
    Format(_matches(rb"\s*\{\s*'"), "it looks like a dict of Python as text; send json.dumps(...)"),
    Format(_matches(rb"\s*eyJ[A-Za-z0-9+/=_-]+\s*$"), "it looks like JSON in base64; send the JSON itself"),
    Format(_is_not_utf8, "it is not UTF-8: latin-1 or a binary format; send JSON in UTF-8"),
    Format(_matches(rb"\s*\{.*[:\[,]\s*-?(NaN|Infinity)\b"), "JSON knows no NaN and no Infinity; send null"),
    Format(_matches(rb"\s*\{[^{}]*\}\s*\{"), "it looks like several lines of JSON; send one object a message"),
    Format(_matches(rb"\s*\{"), "it looks like JSON that was cut off or is not well formed"),
    Format(_is_csv, "it looks like a line of CSV; send a JSON object"),
)


def of_undecodable(raw: bytes) -> str:
    """Return what bytes that are no JSON look like, and the remedy; "" where they look like nothing that is known."""
    start = raw[:LOOKED_AT]
    return next((known.remedy for known in _FORMATS if known.is_it(start)), "")


def of_invalid(raw: bytes, field_names: frozenset[str]) -> str:
    """Return what JSON that is not the message of its topic looks like, and the remedy, or "".

    Args:
        raw: which can be decoded.
        field_names: of the message.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, list):
        return f"it is an array of {len(value)}; send one object a message"
    if isinstance(value, str):
        return "it is JSON within a JSON text, encoded twice; send the object itself"
    if not isinstance(value, dict):
        return f"it is {json.dumps(value)[:40]}; send a JSON object"
    return _envelope(value) or _time(value) or _naming(value, field_names)


def _envelope(value: dict[str, Any]) -> str:
    inner = value.get("payload")
    if (isinstance(inner, dict) and "op" in inner and "after" in inner) or {"op", "after"} <= value.keys():
        return (
            "it looks like Debezium's envelope; unwrap it: transforms=unwrap, "
            "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState"
        )
    if {"schema", "payload"} <= value.keys():
        return "it looks like Kafka Connect's envelope of schema and payload; leave the schema out, " + _PLAIN_JSON
    if {"specversion", "type"} <= value.keys():
        return "it looks like a CloudEvent in structured mode; send what is in its `data`"
    return ""


def _time(value: dict[str, Any]) -> str:
    for name, time in value.items():
        if not name.endswith("_time_ms"):
            continue
        if isinstance(time, str):
            return f"{name} is the text {time[:40]!r}; send milliseconds since 1970 UTC, a number"
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time <= _LARGEST_TIME:
            continue
        for unit, ms in _UNITS.items():
            if OLDEST_MS <= time * ms <= LATEST_MS:
                return f"{name} is {time}, which looks like {unit}; send milliseconds since 1970 UTC, 13 digits"
    return ""


def _naming(value: dict[str, Any], field_names: frozenset[str]) -> str:
    for name in value:
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("-", "_")).lower()
        if name not in field_names and snake in field_names and snake not in value:
            return f"it has {name[:80]!r}; the field is called {snake!r}"
    return ""
