"""State by key: bytes, with a time to live."""

from typing import Any

from pyflink.common import Time, Types
from pyflink.datastream.functions import RuntimeContext
from pyflink.datastream.state import MapState, MapStateDescriptor, StateTtlConfig, ValueState, ValueStateDescriptor

# Of all that the jobs keep; a checkpoint has it. A release reads what earlier ones have written, and refuses what a
# later one has. Whoever changes what is kept, be it by a field more, raises it (docs/adr/0060-versions-of-state.md).
STATE_VERSION = 1

_NOT_ASKED: Any = "Java's own default"  # in its place PyFlink would start a JVM to make a Duration


def value_state(runtime_context: RuntimeContext, name: str, ttl_ms: int) -> "ValueState[bytes]":
    """Return the state `name`, which is forgotten when it has not been written for `ttl_ms`."""
    descriptor = ValueStateDescriptor(name, Types.PICKLED_BYTE_ARRAY())
    descriptor.enable_time_to_live(time_to_live(ttl_ms))
    state: ValueState[bytes] = runtime_context.get_state(descriptor)
    return state


def map_state(runtime_context: RuntimeContext, name: str, ttl_ms: int, cleaned_up: int) -> "MapState[str, bytes]":
    """Return the state `name`, an entry of which is forgotten when it has not been written for `ttl_ms`.

    `cleaned_up` entries are looked through at each access for what has expired, where the state lies on the heap.
    """
    descriptor = MapStateDescriptor(name, Types.STRING(), Types.PICKLED_BYTE_ARRAY())
    descriptor.enable_time_to_live(time_to_live(ttl_ms, cleaned_up))
    state: MapState[str, bytes] = runtime_context.get_map_state(descriptor)
    return state


def time_to_live(ttl_ms: int, cleaned_up: int = 5) -> StateTtlConfig:
    """Return the TTL with Flink's own ways to clean up, named: for those that are not, PyFlink starts a gateway JVM."""
    ttl: StateTtlConfig = (
        StateTtlConfig.new_builder(Time.milliseconds(ttl_ms))
        .disable_cleanup_in_background()  # but for the two that follow
        .cleanup_incrementally(cleaned_up, False)
        .cleanup_in_rocksdb_compact_filter(1_000, _NOT_ASKED)
        .build()
    )
    return ttl
