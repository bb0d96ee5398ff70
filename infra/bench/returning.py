"""What a shopper who comes back is shown before the first click, from the profile alone: `rheostat bench returning`."""

from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console

from export.popularity import popularity
from features import shopper
from features.extraction import extract_row
from features.interaction import Interaction, Kind
from features.sources.datasets import jdata
from onnx_models.artifact import Items
from streaming.control.catalogue import Catalogue
from streaming.io.feed import to_item
from streaming.schemas import SLATE_SIZE, Fallback
from streaming.scoring.candidates import retrieve
from streaming.scoring.model import SessionModel

_NO_MODEL = cast("SessionModel", None)  # it is not asked where nothing was clicked


def measure(data: Path, console: Console) -> dict[str, Any]:
    """Return how often what is first viewed in a visit, and anything that is, was among the items shown before it.

    Of the test sessions of shoppers who have been there, in the order of time: what is popular by the training
    sessions, for everyone alike, and as `retrieve` has it by the profile that Feast would hold.

    Raises:
        DatasetError: the log is not there.
    """
    train, test = jdata.open_log(data, "train"), jdata.open_log(data, "test")
    catalogue = _catalogue(list(train.interactions()), train.items())
    states: dict[str, shopper.ShopperState] = defaultdict(shopper.new)
    for did in train.interactions():
        states[did.shopper_id] = shopper.update(states[did.shopper_id], did)
    nobody = shopper.view(shopper.new())
    for_all = _shown(nobody, catalogue)
    visits, hits = 0, dict.fromkeys(("first_popular", "first_by_interest", "any_popular", "any_by_interest"), 0)
    by_session = sorted(test.interactions(), key=lambda did: did.session_id)  # each of one shopper, in its order
    of_sessions = [list(session) for _, session in groupby(by_session, key=lambda did: did.session_id)]
    for session in sorted(of_sessions, key=lambda session: session[0].event_time_ms):
        shopper_id, viewed = session[0].shopper_id, [did.item_id for did in session if did.kind is Kind.VIEW]
        if viewed and shopper_id in states:
            visits += 1
            profile = shopper.view(states[shopper_id]).profile
            known = shopper.view(shopper.adopt(shopper.new(), profile, "feast"))
            for name, shown in (("popular", for_all), ("by_interest", _shown(known, catalogue))):
                hits[f"first_{name}"] += viewed[0] in shown
                hits[f"any_{name}"] += not shown.isdisjoint(viewed)
        for did in session:
            states[shopper_id] = shopper.update(states[shopper_id], did)
    shares = {name: round(count / max(visits, 1), 4) for name, count in hits.items()}
    first, of_first, any_item, of_any = (f"{100 * shares[name]:.1f} %" for name in hits)
    console.print(
        f"{visits} visits of shoppers who had been there; the first item viewed was among the {SLATE_SIZE} shown "
        f"before it in {first} where all see what is popular, in {of_first} by their interests; any item viewed, "
        f"in {any_item} and {of_any}"
    )
    return {"visits": visits, **shares}


def _catalogue(interactions: list[Interaction], items: list[Any]) -> Catalogue:
    ids = ["", *[item.item_id for item in items]]
    nothing = np.zeros((len(ids), 0))
    touched = [(did.shopper_id, did.item_id) for did in interactions]
    known = Items(ids, popularity(ids, touched), nothing.astype(np.int32), nothing.astype(np.float32))
    catalogue = Catalogue(known)
    for offset, item in enumerate(items):
        catalogue.put(item.item_id, to_item(item), offset)
    return catalogue


def _shown(known: shopper.ShopperView, catalogue: Catalogue) -> set[str]:
    features = extract_row("", known, catalogue)
    candidates = retrieve(known, features, Fallback.EMPTY_SESSION, _NO_MODEL, catalogue, SLATE_SIZE)
    return {catalogue.ids[index] for index in candidates.item_index[:SLATE_SIZE].tolist()}
