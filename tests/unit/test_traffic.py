"""Who comes into the demo's shop."""

from pathlib import Path

import msgspec
import pytest
from support.data import JDATA, needs_data
from support.records import recommendation
from support.replay import ARTIFACT

from infra.local.traffic import LogTraffic, ShopTraffic
from onnx_models import artifact
from onnx_models.artifact import ArtifactError
from streaming.schemas import Recommendation


def slate(shopper_id: str, rec_id: str, items: list[str]) -> Recommendation:
    return msgspec.structs.replace(recommendation(rec_id, items, 1), shopper_id=shopper_id)


def test_a_tenth_sees_popular_items_and_clicks_of_slates_alone_name_them() -> None:
    traffic = ShopTraffic(ARTIFACT, seed=5)
    items = [each.item_id for each in traffic.items()]
    for n in range(6_000):
        did, looked_at, rec_id = traffic.next()
        assert rec_id is None or (looked_at is not None and looked_at.rec_id == rec_id)
        assert rec_id is None or int(did.shopper_id.removeprefix("shopper-")) % 10
        traffic.show(slate(did.shopper_id, f"rec-{n}", items[n % 100 :: 100]))
    arms = traffic.click_through()
    assert arms.keys() == {"policy 3", "popular items"}
    looks = {arm: looked for arm, (_, looked) in arms.items()}
    assert 0.05 < looks["popular items"] / sum(looks.values()) < 0.15


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
        ShopTraffic(tmp_path, seed=5)
