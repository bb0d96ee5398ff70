"""The job `recommend` as a later version might be: with one operator more, and therefore another plan."""

from collections.abc import Iterator

from pyflink.datastream import DataStream
from pyflink.datastream.functions import ProcessFunction

from streaming.config import JobConfig
from streaming.flink.connectors import OUTGOING
from streaming.flink.connectors import sink as to_kafka
from streaming.jobs import recommend
from streaming.schemas import Outgoing


class Pass(ProcessFunction):
    def process_element(self, value: Outgoing, ctx: ProcessFunction.Context) -> Iterator[Outgoing]:
        yield value


def sink(records: DataStream, uid: str, cfg: JobConfig) -> None:
    to_kafka(records.process(Pass(), OUTGOING).uid("pass-v1").name("pass"), uid, cfg)


if __name__ == "__main__":
    recommend.sink = sink
    recommend.main()
