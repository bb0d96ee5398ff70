"""What a slate was drawn from is logged so that it can be drawn again, by this version and from logs of the first."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.sources.simulator import shop
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates
from streaming.io.feed import to_item
from streaming.policy.objectives import Calibration
from streaming.schemas import Fallback, LoggedCandidates
from streaming.scoring.candidates import Candidates
from streaming.scoring.considered import pack, unpack

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
COUNT = 30


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    catalogue = Catalogue(read_items(ARTIFACT, read_manifest(ARTIFACT)))
    for offset, item in enumerate(shop.items()):
        catalogue.put(item.item_id, to_item(item), offset)
    return catalogue


def candidates_of(rng: np.random.Generator, has_bought: bool) -> Candidates:
    bought = rng.random(COUNT).astype(np.float32).astype(float) if has_bought else None
    item_index = rng.choice(np.arange(1, 500), COUNT, replace=False)
    return Candidates(item_index, rng.normal(size=COUNT).astype(np.float32).astype(float), bought, Fallback.NONE, b"")


def estimates_of(lift: np.ndarray) -> ItemEstimates:
    return ItemEstimates(7, Calibration(0.1, 0.9, 0.2), lift, np.full(COUNT, 0.25), np.ones(COUNT))


def assert_same(logged: LoggedCandidates, catalogue: Catalogue, candidates: Candidates, said: ItemEstimates) -> None:
    again, estimates = unpack(logged, catalogue)
    assert again.item_index.tolist() == candidates.item_index.tolist()
    assert again.logits.tolist() == candidates.logits.tolist()
    assert (again.bought is None) == (candidates.bought is None)
    assert again.bought is None or candidates.bought is None or again.bought.tolist() == candidates.bought.tolist()
    assert estimates.calibration == said.calibration
    for name in ("lift", "lift_std", "buy_lift"):
        assert getattr(estimates, name).tolist() == getattr(said, name).tolist()


@pytest.mark.parametrize("has_bought", [True, False])
@pytest.mark.parametrize("has_learnt", [True, False])
def test_what_is_logged_is_what_was_considered(catalogue: Catalogue, has_bought: bool, has_learnt: bool) -> None:
    rng = np.random.default_rng(3)
    candidates = candidates_of(rng, has_bought)
    estimates = estimates_of(rng.integers(1, 9, COUNT) / 4.0 if has_learnt else np.ones(COUNT))
    logged = pack(candidates, estimates, catalogue)
    assert len(logged.lift) == (4 * COUNT if has_learnt else 4)
    assert_same(logged, catalogue, candidates, estimates)


def test_nothing_was_considered(catalogue: Catalogue) -> None:
    none = Candidates(np.zeros(0, dtype=np.int64), np.zeros(0), None, Fallback.EMPTY_SESSION, b"")
    logged = pack(none, ItemEstimates(0, Calibration(0.0, 1.0, 0.1), *[np.zeros(0)] * 3), catalogue)
    again, estimates = unpack(logged, catalogue)
    assert len(again.item_index) == len(estimates.lift) == 0


@pytest.mark.parametrize("has_bought", [True, False])
def test_candidates_of_version_1_are_read(catalogue: Catalogue, has_bought: bool) -> None:
    rng = np.random.default_rng(4)
    candidates, estimates = candidates_of(rng, has_bought), estimates_of(rng.integers(1, 9, COUNT) / 4.0)
    bought = np.full(COUNT, np.nan) if candidates.bought is None else candidates.bought
    columns = [candidates.item_index, candidates.logits, bought, estimates.lift, estimates.lift_std, estimates.buy_lift]
    table = np.rec.fromarrays(columns, dtype=",".join(["<i4", *["<f4"] * 5]))
    first = msgspec.structs.replace(
        pack(candidates, estimates, catalogue),
        **dict.fromkeys(("item_index", "logits", "bought", "lift", "lift_std", "buy_lift"), b""),
        candidates=table.tobytes(),
    )
    assert_same(first, catalogue, candidates, estimates)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": b"1234" * (COUNT - 1)}, f"a column of {4 * COUNT - 4} bytes"),
        ({"lift": b"123"}, "a column of 3 bytes"),
        ({"buy_lift": b""}, "a column of 0 bytes"),
        ({"item_index": b"123"}, "3 bytes of candidates"),
        ({"candidates": b"12345"}, "5 bytes of candidates, 24 each"),
        ({"new_items": ("i001",) * (COUNT + 1)}, f"of which {COUNT + 1} are new items"),
    ],
)
def test_columns_that_are_no_candidates_are_refused(
    change: dict[str, object], words: str, catalogue: Catalogue
) -> None:
    rng = np.random.default_rng(5)
    logged = pack(candidates_of(rng, has_bought=True), estimates_of(rng.integers(1, 9, COUNT) / 4.0), catalogue)
    bent = msgspec.json.encode(msgspec.structs.asdict(logged) | change)
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.json.decode(bent, type=LoggedCandidates)
