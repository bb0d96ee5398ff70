"""Items and policies that cannot be used -> dead letters; the policy that stays in force -> the topic again."""

from collections.abc import Iterator
from contextlib import ExitStack

from pyflink.common import Row
from pyflink.datastream.functions import ProcessFunction, RuntimeContext

from streaming.config import RecommendConfig
from streaming.control.state import shared_control
from streaming.flink.thread_mode import assert_thread_mode
from streaming.operators.metrics import dead_letters, group
from streaming.records import dead_letter_record, encode
from streaming.schemas import Origin, Outgoing, Topic
from streaming.scoring.model import shared_model


class RejectControl(ProcessFunction):
    """No state. Beside the broadcast and not behind it, where every slot would send a letter of its own.

    Compaction keeps a key's newest record, refused or not: so what stays in force is written behind a refused one.
    """

    def __init__(self, cfg: RecommendConfig) -> None:
        self._cfg = cfg

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        with ExitStack() as used:
            model = used.enter_context(shared_model(self._cfg.model_folder, self._cfg.device))
            version = model.manifest.model_version
            self._control = used.enter_context(shared_control(self._cfg.job.cluster, model.items, version))
            self._used = used.pop_all()
        self._dead_letters = dead_letters(group(runtime_context))

    def close(self) -> None:
        self._used.close()

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value[1]
        letter = self._control.apply(key, raw, Origin(topic, partition, offset))
        if letter is None:
            return
        self._dead_letters[letter.reason].inc()
        yield dead_letter_record(letter)
        stays = self._control.table.written(key)
        if topic == Topic.POLICIES and stays is not None:
            yield Topic.POLICIES.value, key, encode(stays)
