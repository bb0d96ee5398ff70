"""What an afternoon gives: the last items of each shopper in a dictionary, the same model, and its best 20 as JSON.

No features, policy, exploration, propensities, feature log, or recovery.
"""

from collections import defaultdict, deque
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from infra.bench.peers.wire import micro_batches, options, writer
from onnx_models.artifact import GRAPH, read_items, read_manifest
from onnx_models.session import INPUTS, TOP_ITEMS, TOP_LOGITS, feed_of, open_session
from streaming.config import Cluster

SLATE_SIZE = 20
ENCODER = msgspec.json.Encoder()


class Event(msgspec.Struct):
    event_id: str
    shopper_id: str
    item_id: str


def main() -> None:
    given = options(__doc__)
    folder, cluster = Path(given.model), Cluster(given.bootstrap_servers, given.topic_prefix)
    manifest = read_manifest(folder)
    ids = read_items(folder, manifest).ids
    index_of = {item_id: n for n, item_id in enumerate(ids)}
    model = open_session(folder / GRAPH)
    new_items, everything = np.zeros((1, manifest.hidden_dim), dtype=np.float32), np.ones(len(ids), dtype=bool)
    last: defaultdict[str, deque[int]] = defaultdict(partial(deque, maxlen=manifest.max_length))
    decode, write = msgspec.json.Decoder(Event).decode, writer(cluster)
    for batch in micro_batches(cluster, "loop"):
        events = [decode(record.value() or b"") for record in batch]
        item_seq = np.zeros((len(events), manifest.max_length), dtype=np.int64)
        for row, event in enumerate(events):
            last[event.shopper_id].append(index_of.get(event.item_id, 0))
            item_seq[row, : len(last[event.shopper_id])] = last[event.shopper_id]
        asked = item_seq, (item_seq > 0).sum(axis=1), new_items, everything, item_seq[:, :1]
        feed = feed_of(model, dict(zip(INPUTS, asked, strict=True)))
        items, logits = model.run([TOP_ITEMS, TOP_LOGITS], feed)
        for event, its_items, its_logits in zip(events, items, logits, strict=True):
            slate = [
                {"item_id": ids[item], "score": round(float(logit), 6)}
                for item, logit in zip(its_items[:SLATE_SIZE].tolist(), its_logits[:SLATE_SIZE].tolist(), strict=True)
            ]
            value: dict[str, object] = {
                "event_id": event.event_id,
                "shopper_id": event.shopper_id,
                "policy_version": 1,
                "fallback": "none",
            }
            value["slate"] = slate
            write(event.shopper_id.encode(), ENCODER.encode(value))


if __name__ == "__main__":
    main()
