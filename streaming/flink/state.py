"""State of one value by key: bytes, with a time to live."""

from pyflink.common import Time, Types
from pyflink.datastream.functions import RuntimeContext
from pyflink.datastream.state import StateTtlConfig, ValueState, ValueStateDescriptor


def value_state(runtime_context: RuntimeContext, name: str, ttl_ms: int) -> "ValueState[bytes]":
    """Return the state `name`, which is forgotten when it has not been written for `ttl_ms`."""
    descriptor = ValueStateDescriptor(name, Types.PICKLED_BYTE_ARRAY())
    descriptor.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(ttl_ms)).build())
    state: ValueState[bytes] = runtime_context.get_state(descriptor)
    return state
