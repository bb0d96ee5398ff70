"""A row of a feature view as one value: what both online stores keep.

One value an entity, instead of Feast's one a feature: a write is one statement, and no reader ever sees half of one row
and half of another. A row is newer by (event time, created time), as in Feast's point-in-time joins.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]  # as Feast hands it to a store
StoredRow = tuple[datetime | None, dict[str, Value] | None]  # as Feast wants it from a store
Native = Any  # a number, a text, bytes, a list of one of them, or None: what msgpack holds
Maker = Callable[[Native], Value]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[int, dict[str, Any]])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PackedRow(NamedTuple):
    """`content` begins with the created time, big-endian: of two rows with one event time, the greater is the newer."""

    key: bytes  # Feast's entity key
    event_time_us: int
    content: bytes


class PackedOnlineStore(OnlineStore):
    """What Feast asks of a store, by writing and reading packed rows."""

    @abstractmethod
    def where(self, config: RepoConfig) -> str:
        """Return what an operator calls this store."""

    @abstractmethod
    def write_packed(self, config: RepoConfig, view: FeatureView, rows: Sequence[PackedRow]) -> None:
        """Write `rows`, of which one that is not newer than what is there changes nothing."""

    @abstractmethod
    def read_packed(self, config: RepoConfig, view: FeatureView, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the content of the row of each key."""

    @abstractmethod
    def is_away(self, error: Exception) -> bool:
        """Say whether `error`, of a write or a read, may pass by itself; one of a table or a type does not."""

    def refusal(self, error: Exception) -> str | None:
        """Return in words why the store lets us not in, or not do something, if that is what `error` says."""
        return None

    @abstractmethod
    def create(self, config: RepoConfig, view: FeatureView) -> None:
        """Make the view's table if it is not there."""

    @abstractmethod
    def drop(self, config: RepoConfig, view: FeatureView) -> None:
        """Remove the view's table if it is there."""

    @abstractmethod
    def disconnect(self) -> None:
        """Let the connection go; the next call makes a new one."""

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        self.write_packed(config, table, pack_rows(config, data))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[StoredRow]:
        keys = [serialize_entity_key(entity_key, config.entity_key_serialization_version) for entity_key in entity_keys]
        makers = value_makers(table)
        if requested_features is not None:
            makers = {name: make for name, make in makers.items() if name in requested_features}
        oldest = datetime.now(UTC) - table.ttl if table.ttl else _EPOCH
        return [unpack(content, makers, oldest) for content in self.read_packed(config, table, keys)]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        for view in tables_to_keep:
            value_makers(view)  # what cannot be kept is better said now
            self.create(config, view)
        for view in tables_to_delete:
            self.drop(config, view)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        for view in tables:
            self.drop(config, view)
        self.disconnect()


def pack(key: bytes, event_time_us: int, created_time_us: int, values: dict[str, Native]) -> PackedRow:
    content = created_time_us.to_bytes(8, "big") + _ENCODER.encode((event_time_us, values))
    return PackedRow(key, event_time_us, content)


def pack_rows(config: RepoConfig, rows: Sequence[Row]) -> list[PackedRow]:
    """Return the rows that Feast wants written, the newest of each entity."""
    packed: dict[bytes, PackedRow] = {}
    for entity_key, values, event_time, created_time in rows:
        natives = {name: _native(value) for name, value in values.items()}
        key = serialize_entity_key(entity_key, config.entity_key_serialization_version)
        row = pack(key, _microseconds(event_time), _microseconds(created_time or _EPOCH), natives)
        if key not in packed or packed[key][1:] <= row[1:]:
            packed[key] = row
    return list(packed.values())


def unpack(content: bytes | None, makers: Mapping[str, Maker], oldest: datetime) -> StoredRow:
    """Return a stored row's features that have a maker; nothing if there is no row or if it is older than `oldest`."""
    if content is None:
        return None, None
    event_time_us, values = _DECODER.decode(memoryview(content)[8:])
    event_time = _EPOCH + event_time_us * _MICROSECOND
    if event_time < oldest:
        return None, None
    return event_time, {name: make(values.get(name)) for name, make in makers.items()}


def value_makers(view: FeatureView) -> dict[str, Maker]:
    """Return how each feature of `view` becomes a Value.

    Raises:
        ValueError: a feature has a type that the stores do not keep; the message names it.
    """
    makers = {}
    for feature in view.features:
        field = f"{feature.dtype.to_value_type().name.lower()}_val"
        descriptor = Value.DESCRIPTOR.fields_by_name.get(field)
        if descriptor is None or (descriptor.message_type and not field.endswith("_list_val")):
            name = f"{view.name}:{feature.name}"
            msg = f"{name} is of type {feature.dtype}; the store keeps numbers, texts, bytes, lists of them"
            raise ValueError(msg)
        makers[feature.name] = _maker(
            field, descriptor.message_type._concrete_class if descriptor.message_type else None
        )
    return makers


def _maker(field: str, list_type: type | None) -> Maker:
    def make(native: Native) -> Value:
        if native is None:
            return Value()
        return Value(**{field: native if list_type is None else list_type(val=native)})

    return make


def _native(value: Value) -> Native:
    field = value.WhichOneof("val")
    if field is None:
        return None
    content = getattr(value, field)
    return list(content.val) if field.endswith("_list_val") else content


def _microseconds(time: datetime) -> int:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)  # Feast: a naive time is UTC
    return (aware - _EPOCH) // _MICROSECOND
