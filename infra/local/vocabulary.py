"""Do the model and the shop speak of the same items?"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from onnx_models.artifact import read_items, read_manifest
from streaming.config import Cluster
from streaming.io.topics import read_compacted
from streaming.schemas import Topic

FEW = 0.5  # of what is on sale


class _Stock(msgspec.Struct):
    stock: int = 1


class Overlap(NamedTuple):
    """Of what is on sale and what the model knows."""

    on_sale: int
    known: int  # of these
    vocabulary: int  # items that the model knows

    @property
    def is_empty(self) -> bool:
        return self.known == 0

    def __str__(self) -> str:
        if not self.on_sale:
            return "nothing is on sale: `rheostat items load FILE`"
        words = f"{self.on_sale:,} on sale, {self.known:,} of which the model knows; it knows {self.vocabulary:,}"
        if self.is_empty:
            return f"{words}, so slates are empty. Load the items that it was trained on, or train one on these"
        return f"{words}: train it on what is on sale" if self.known < FEW * self.on_sale else words


def overlap(cluster: Cluster, model: Path) -> Overlap:
    """Return what the items on their topic and those of the model have in common.

    Raises:
        ArtifactError: the model cannot be read.
        TopicError: there is no such topic.
        KafkaException: the broker did not answer.
    """
    vocabulary = set(read_items(model, read_manifest(model)).ids[1:])
    on_sale = dict[str, bool]()
    for _, raw_key, raw in read_compacted(cluster, [Topic.ITEMS]):
        on_sale[raw_key.decode(errors="replace")] = raw is not None and _is_in_stock(raw)
    ids = {item_id for item_id, is_there in on_sale.items() if is_there}
    return Overlap(len(ids), len(ids & vocabulary), len(vocabulary))


def _is_in_stock(raw: bytes) -> bool:
    try:
        return msgspec.json.decode(raw, type=_Stock).stock > 0
    except msgspec.MsgspecError:  # the jobs refuse it, too
        return False
