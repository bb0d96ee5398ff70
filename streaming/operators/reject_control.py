"""Items and policies that cannot be decoded -> dead letters."""

from collections.abc import Iterator

from pyflink.common import Row
from pyflink.datastream.functions import ProcessFunction, RuntimeContext

from streaming.operators.metrics import dead_letters, group
from streaming.operators.thread_mode import assert_thread_mode
from streaming.schemas import DeadLetter, Origin, Outgoing, dead_letter_record, decode


class RejectControl(ProcessFunction):
    """No state. Beside the broadcast and not behind it, where every slot would send a letter of its own."""

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        self._dead_letters = dead_letters(group(runtime_context))

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value[1]
        message = decode(key, raw, Origin(topic, partition, offset))
        if isinstance(message, DeadLetter):
            self._dead_letters[message.reason].inc()
            yield dead_letter_record(message)
