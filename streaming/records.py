"""Records and messages: decoding, encoding, and what is kept of a record that cannot be used."""

import hashlib
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from features import row
from features.errors import UnavailableError
from streaming import formats
from streaming.schemas import (
    COMPACTED,
    Click,
    Complements,
    DeadLetter,
    Estimates,
    FeatureRecord,
    Impression,
    Item,
    Message,
    Origin,
    Outcome,
    Outgoing,
    Policy,
    ProfileRequest,
    Purchase,
    Reason,
    Recommendation,
    Request,
    RequestRecord,
    Return,
    StoredProfile,
    Topic,
)

# A broker takes records of 1 MiB (message.max.bytes, max.request.size) with what is around them.
RECORD_AT_MOST = 1_000_000  # bytes of key and value
RAW_KEPT = 65_536  # bytes of a record that cannot be used
ERROR_AT_MOST = 2_000  # characters
# What a schema registry's serializers put before a record: a byte 0 and the schema's number, four bytes. What follows
# is JSON where the schema is JSON Schema, and says all by itself: no registry is asked.
WIRE_FORMAT, _SCHEMA_NUMBER = b"\0", 5
TOMBSTONE = b""  # what a job writes for a null value, by which what has the key is gone


class Record(NamedTuple):
    """A record of a topic, as it lies there."""

    key: str
    raw: bytes | None
    origin: Origin
    was_deferred: bool = False  # it was put off, and comes again


MESSAGES: dict[str, type[Message]] = {
    Topic.CLICKS: Click,
    Topic.PURCHASES: Purchase,
    Topic.REQUESTS: Request,
    Topic.PROBES: Click,
    Topic.ITEMS: Item,
    Topic.POLICIES: Policy,
    Topic.RECOMMENDATIONS: Recommendation,
    Topic.RETURNS: Return,
    Topic.IMPRESSIONS: Impression,
    Topic.OUTCOMES: Outcome,
    Topic.ESTIMATES: Estimates,
    Topic.COMPLEMENTS: Complements,
    Topic.FEATURE_LOG: FeatureRecord,
    Topic.REQUEST_LOG: RequestRecord,
    Topic.PROFILE_REQUESTS: ProfileRequest,
    Topic.PROFILES: StoredProfile,
}
_DECODERS = {topic: msgspec.json.Decoder(message) for topic, message in MESSAGES.items()}
_ENCODER = msgspec.json.Encoder()
_PACKER, _FEATURES_DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(FeatureRecord)
_REQUEST_RECORD_DECODER = msgspec.msgpack.Decoder(RequestRecord)
_FEATURES_1_DECODER = msgspec.json.Decoder(FeatureRecord)
# Whoever says anything but `true` has not consented, whatever the record is wrapped in, and whether it can be read.
_NO_CONSENT = re.compile(rb"""consent\\*["']\s*+[:=]\s*+(?!\\*["']?true\b)""", re.IGNORECASE)
_PATH = re.compile(r"`\$[^`]*`")
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what decoding of any bytes may raise
# Faults of the system, which no record is to blame for: the job tries again, and then fails.
SYSTEM_FAULTS = (UnavailableError, MemoryError, OSError)


def decode(key: str, raw: bytes | None, origin: Origin) -> Message | DeadLetter | None:
    """Return the message of a record or, never raising for bad data, its dead letter.

    None is a tombstone: a null value on a compacted topic, by which what has that key is gone.
    """
    if raw is None and origin.topic in COMPACTED:
        return None
    message = decode_any(raw or b"", origin)
    if isinstance(message, DeadLetter) or key == key_of(message):
        return message
    return invalid(origin, f"the record's key is {key!r}, expected {key_of(message)!r}{_key_remedy(key)}", raw or b"")


def decode_any(raw: bytes, origin: Origin) -> Message | DeadLetter:
    """Return the message of a record under whatever key, or its dead letter."""
    payload = raw
    if raw.startswith(WIRE_FORMAT) and raw.startswith(b"{", _SCHEMA_NUMBER):
        payload = raw[_SCHEMA_NUMBER:]
    try:
        message = _decode(payload, origin.topic)
    except msgspec.ValidationError as error:
        names = frozenset(MESSAGES[origin.topic].__struct_encode_fields__)
        return _refused(origin, Reason.INVALID, f"{error}", formats.of_invalid(payload, names), raw)
    except UNDECODABLE as error:
        return _refused(origin, Reason.UNDECODABLE, f"{error}", formats.of_undecodable(payload), raw)
    if isinstance(message, FeatureRecord | RequestRecord):
        try:
            row.check(message.row)
        except ValueError as error:
            return invalid(origin, f"{error}", raw)
    return message


def invalid(origin: Origin, error: str, raw: bytes) -> DeadLetter:
    """Return the dead letter of a record that decodes but cannot be used."""
    return _refused(origin, Reason.INVALID, error, "", raw)


def expired(origin: Origin, error: str, raw: bytes) -> DeadLetter:
    """Return the dead letter of a request that nobody waits for any more."""
    return _refused(origin, Reason.EXPIRED, error, "", raw)


def failed(origin: Origin, error: Exception, raw: bytes) -> DeadLetter:
    """Return the dead letter of a record at which the code that should have used it raised."""
    name = type(error).__name__
    return _refused(origin, Reason.FAILED, f"{name}: {error}", "", raw, without_consent=name)


def key_of(message: Message) -> str:
    """Return the key of the message's record."""
    match message:
        case Item() | Complements():
            return message.item_id
        case Policy():
            return message.scope
        case Estimates():
            return message.name
        case Click() | Purchase() | Request() | Return() | Impression() | Recommendation() | Outcome():
            return message.shopper_id
        case ProfileRequest() | StoredProfile():
            return message.shopper_id
        case FeatureRecord() | RequestRecord():
            return message.row.shopper_id


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as its topic has it: JSON, but of the logs that nobody subscribes to, MessagePack."""
    return (_PACKER if isinstance(message, FeatureRecord | RequestRecord) else _ENCODER).encode(message)


def decode_features(raw: bytes) -> FeatureRecord:
    """Return a record of the feature log; those of version 1 are JSON.

    Raises:
        UNDECODABLE: it is none.
    """
    return _FEATURES_1_DECODER.decode(raw) if raw.startswith(b"{") else _FEATURES_DECODER.decode(raw)


def decode_request_record(raw: bytes) -> RequestRecord:
    """Return a record of the request log.

    Raises:
        UNDECODABLE: it is none.
    """
    return _REQUEST_RECORD_DECODER.decode(raw)


def _decode(raw: bytes, topic: str) -> Message:
    match topic:
        case Topic.FEATURE_LOG:
            return decode_features(raw)
        case Topic.REQUEST_LOG:
            return decode_request_record(raw)
    return _DECODERS[topic].decode(raw)


def dead_letter_record(letter: DeadLetter) -> Outgoing:
    return Topic.DEAD_LETTERS.value, letter.origin.topic, encode(letter)


def check_sizes(records: Iterable[Outgoing]) -> None:
    """Raise ValueError for a record that a broker does not take."""
    for topic, key, value in records:
        if len(key) + len(value) > RECORD_AT_MOST:
            msg = f"the record for {topic} would have {len(value)} bytes, a broker takes {RECORD_AT_MOST}"
            raise ValueError(msg)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _refused(
    origin: Origin, reason: Reason, error: str, remedy: str, raw: bytes, without_consent: str = ""
) -> DeadLetter:
    if _NO_CONSENT.search(raw.replace(b"\0", b"")):
        at = _PATH.search(error)
        said = without_consent or (f"at {at.group()}" if at else f"{reason.value}")
        return DeadLetter(
            origin=origin,
            reason=reason,
            error=f"{said}; it says that there is no consent, so nothing of it is kept",
            raw=b"",
            time_ms=now_ms(),
        )
    return DeadLetter(
        origin=origin,
        reason=reason,
        error=f"{error}: {remedy}"[:ERROR_AT_MOST] if remedy else error[:ERROR_AT_MOST],
        raw=raw[:RAW_KEPT],
        raw_length=len(raw),
        raw_sha256=hashlib.sha256(raw).hexdigest(),
        time_ms=now_ms(),
    )


def _key_remedy(key: str) -> str:
    if not key:
        return "; the producer sends none"
    if key.startswith("\0"):
        return "; the producer puts a schema's number before it: key.serializer is to be a StringSerializer"
    if key.startswith(('"', "{")):
        return "; the producer sends it as JSON: key.converter=org.apache.kafka.connect.storage.StringConverter"
    return ""
