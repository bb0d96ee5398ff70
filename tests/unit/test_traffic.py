"""Who comes into the demo's shop."""

import io
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from support.data import JDATA, needs_data
from support.records import recommendation
from support.replay import ARTIFACT

from features.errors import ArtifactError
from features.sources.simulator.parameters import Parameters
from features.sources.simulator.shop import ExpectedReward, Shop
from infra.local.demo import SHOP, SOLD_OUT
from infra.local.traffic import MERCHANT, PAGE, LogTraffic, ShopTraffic
from infra.local.windows import Look, Window, by_window, show
from onnx_models import artifact
from streaming.records import encode
from streaming.schemas import Recommendation, Request


def slate(shopper_id: str, rec_id: str, items: list[str]) -> Recommendation:
    return msgspec.structs.replace(recommendation(rec_id, items, 1), shopper_id=shopper_id)


def test_a_tenth_sees_popular_items_and_clicks_of_slates_alone_name_them() -> None:
    traffic = ShopTraffic(ARTIFACT, Shop(5, foresees=True))
    items = [item.item_id for item in traffic.items()]
    for n in range(6_000):
        did, looked_at, rec_id, prospect, request = traffic.next()
        assert request is None  # nobody opens pages in this shop
        assert (prospect is None) == (looked_at is None)
        assert rec_id is None or (looked_at is not None and looked_at.rec_id == rec_id)
        assert rec_id is None or int(did.shopper_id.removeprefix("shopper-")) % 10
        traffic.show(slate(did.shopper_id, f"rec-{n}", items[n % 100 :: 100]))
    arms = traffic.click_through()
    assert arms.keys() == {"policy 3", "popular items"}
    looks = {arm: looked for arm, (_, looked) in arms.items()}
    assert 0.05 < looks["popular items"] / sum(looks.values()) < 0.15


def test_pages_that_are_opened_ask_for_slates_and_count_apart() -> None:
    traffic = ShopTraffic(ARTIFACT, Shop(5, Parameters(page=PAGE), foresees=True))
    items = [item.item_id for item in traffic.items()]
    surfaces: Counter[str] = Counter()
    for n in range(6_000):
        happened = traffic.next()
        request = happened.request
        if request is None:
            traffic.show(slate(happened.interaction.shopper_id, f"rec-{n}", items[n % 100 :: 100]))
            continue
        assert int(request.shopper_id.removeprefix("shopper-")) % 10
        assert msgspec.json.decode(encode(request), type=Request) == request
        surfaces[request.surface] += 1
        answer = slate(request.shopper_id, f"rec-{n}", items[n % 100 :: 100])
        traffic.show(msgspec.structs.replace(answer, request_id=request.request_id, surface=request.surface))
    assert surfaces.keys() == {"home", "product", "search", "listing", "cart"}
    arms = traffic.click_through()
    assert arms.keys() == {"policy 3", "popular items", *(f"{surface} page" for surface in surfaces)}
    assert all(looks > 20 for _, looks in arms.values())


@needs_data
def test_log_ends() -> None:
    traffic = LogTraffic(JDATA, 1_000_000)
    assert traffic.count == 29_830
    assert LogTraffic(JDATA, 10).count == 10


def test_model_of_another_shop_is_refused(tmp_path: Path) -> None:
    manifest = artifact.read_manifest(ARTIFACT)
    known = artifact.read_items(ARTIFACT, manifest)
    ids = ["", *(f"other-{n}" for n in range(1, len(known.ids)))]
    other = {"vocabulary_hash": artifact.vocabulary_hash(ids)}
    artifact.write(tmp_path, msgspec.structs.replace(manifest, **other), msgspec.structs.replace(known, ids=ids))
    with pytest.raises(ArtifactError, match="knows no item of the simulated shop"):
        ShopTraffic(tmp_path, Shop(5))


def test_windows_say_what_slates_bring_and_show_of_a_merchant() -> None:
    def look(number: int, clicks: float, items: tuple[str, ...]) -> Look:
        return Look(number, ExpectedReward(clicks, 0.0, 0.0, best_clicks=0.5), items)

    looks = [look(0, 0.1, ("a", "b")), look(4, 0.3, ("a", "a")), look(5, 0.4, ("b", "b")), look(19, 0.5, ("a", "b"))]
    windows = by_window(looks, 20, 4, {"a"})
    assert windows == [
        Window(until=5, looks=2, of_best=pytest.approx(0.4), share=0.75),
        Window(until=10, looks=1, of_best=pytest.approx(0.8), share=0.0),
        Window(until=20, looks=1, of_best=pytest.approx(1.0), share=0.5),
    ]
    printed = io.StringIO()
    show(windows, 5.0, "m", {0: "it opens", 12: "a shock", 20: "too late"}, Console(file=printed, width=100))
    lines = printed.getvalue().splitlines()
    rows = [" ".join(line.split()[:3]) for line in lines[-5:]]
    assert [row.split(" █")[0] for row in rows] == ["it opens", "1 s 40.0%", "2 s 80.0%", "a shock", "4 s 100.0%"]


def test_demo_sells_out_a_share_of_a_merchant() -> None:
    shop = Shop(3, SHOP)
    before = {item.item_id for item in shop.items() if item.merchant == MERCHANT and item.stock}
    all_of_it = sum(item.merchant == MERCHANT for item in shop.items())
    shop.stock_out({MERCHANT}, SOLD_OUT)
    gone = before - {item.item_id for item in shop.items() if item.stock}
    assert abs(len(gone) - SOLD_OUT * all_of_it) <= 0.1 * all_of_it
    assert {change.item_id for change in shop.changes()} >= gone
