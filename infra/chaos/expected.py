"""What a run is to come to, by the pure functions that the jobs are made of, whatever happens to them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from features import shopper
from features.interaction import Interaction, ShopItem
from features.row import FeatureRow
from features.shopper import ShopperState
from infra.chaos import load
from infra.chaos.account import Account
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.io.feed import to_item, to_message
from streaming.schemas import Recommendation
from streaming.scoring.advance import advance
from streaming.scoring.recommender import rec_id

SURFACE = "home"  # of slates that nobody asked for


def expected(interactions: Sequence[Interaction], items: Sequence[ShopItem], model: Path) -> Account:
    """Return the account of all that shoppers click and buy, before anybody reacts to a slate."""
    catalogue = Catalogue(read_items(model, read_manifest(model)))
    for offset, item in enumerate(items):
        catalogue.put(item.item_id, to_item(item), offset)
    states: dict[str, ShopperState] = {}
    rows: dict[str, FeatureRow] = {}
    for interaction in interactions:
        message = to_message(interaction)
        advanced = advance(states.get(message.shopper_id) or shopper.new(), message, catalogue)
        states[message.shopper_id] = advanced.state
        if advanced.row is not None:
            rows[message.shopper_id] = advanced.row
    sent = [record for its in load.records(list(interactions)) for record in its if record.is_broken]
    return Account(
        rec_ids={rec_id(to_message(interaction), SURFACE) for interaction in interactions},
        rows=rows,
        letters={(record.topic.value, hashlib.sha256(record.value).hexdigest()) for record in sent},
    )


def with_reactions(account: Account, slates: Sequence[Recommendation]) -> None:
    """Put into the account what is to come of what shoppers do with their slates."""
    account.rec_ids |= load.answers(list(slates), SURFACE)
    account.outcomes = load.outcomes(list(slates))
