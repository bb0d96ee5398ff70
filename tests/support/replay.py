"""What the job must come to hold, by the pure functions alone."""

from collections.abc import Iterable
from pathlib import Path

from features import shopper
from features.interaction import Interaction
from features.row import FeatureRow
from features.shopper import ShopperState
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.io.feed import to_message
from streaming.schemas import Click, Item, Purchase
from streaming.scoring.advance import advance

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


def newest_rows(interactions: Iterable[Interaction], items: Iterable[Item]) -> dict[str, FeatureRow]:
    """Return each shopper's row after all `interactions`, none of them before, in a shop of `items`."""
    return newest_rows_of([to_message(interaction) for interaction in interactions], items)


def newest_rows_of(messages: Iterable[Click | Purchase], items: Iterable[Item]) -> dict[str, FeatureRow]:
    """Return each shopper's row after all `messages`, none of them before, in a shop of `items`."""
    catalogue = Catalogue(read_items(ARTIFACT, read_manifest(ARTIFACT)))
    for offset, item in enumerate(items):
        catalogue.put(item.item_id, item, offset)
    states: dict[str, ShopperState] = {}
    rows: dict[str, FeatureRow] = {}
    for message in messages:
        state = states.get(message.shopper_id) or shopper.new()
        advanced = advance(state, message, catalogue)
        states[message.shopper_id] = advanced.state
        if advanced.row is not None:
            rows[message.shopper_id] = advanced.row
    return rows
