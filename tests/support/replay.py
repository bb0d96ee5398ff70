"""What the job must come to hold, by the pure functions alone."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from features import shopper
from features.interaction import Interaction
from features.row import FeatureRow
from features.shopper import ShopperState
from features.sources.simulator import shop
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.io.feed import to_item, to_message
from streaming.scoring.advance import advance

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


@cache
def generator_catalogue() -> Catalogue:
    catalogue = Catalogue(read_items(ARTIFACT, read_manifest(ARTIFACT)))
    for offset, item in enumerate(shop.items()):
        catalogue.put(item.item_id, to_item(item), offset)
    return catalogue


def newest_rows(interactions: Iterable[Interaction]) -> dict[str, FeatureRow]:
    """Return each shopper's row after all `interactions` of the simulated shop."""
    states: dict[str, ShopperState] = {}
    rows: dict[str, FeatureRow] = {}
    for interaction in interactions:
        held = states.get(interaction.shopper_id) or shopper.new()
        advanced = advance(held, to_message(interaction), generator_catalogue())
        states[interaction.shopper_id] = advanced.state
        if advanced.row is not None:
            rows[interaction.shopper_id] = advanced.row
    return rows
