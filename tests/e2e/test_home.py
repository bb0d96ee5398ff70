"""What `up` has left is gone on with."""

import csv
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.replay import ARTIFACT

from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from infra.local.stack import Stack, local_stack
from streaming.io.topics import read_topic
from streaming.records import decode, now_ms
from streaming.schemas import FeatureRecord, Topic

DEADLINE_S = 120.0


def sequence_of(stack: Stack, event_id: str) -> int:
    """Let a shopper view something and return how many interactions the job knows of them then."""
    item = shop.items()[0]
    stack.feed.interaction(Interaction(event_id, "regular", "x", item.item_id, Kind.VIEW, now_ms(), item.category))
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for origin, key, raw in read_topic(stack.cluster, Topic.FEATURE_LOG):
            record = decode(key.decode(), raw, origin)
            if isinstance(record, FeatureRecord) and record.event_id == event_id:
                return record.sequence
        time.sleep(0.2)
    raise AssertionError(event_id)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_stack_goes_on_with_its_topics_states_and_features(tmp_path: Path) -> None:
    with local_stack(tmp_path / "home", ARTIFACT, shop.items(), warm=False) as stack:
        assert sequence_of(stack, "before") == 1
    with local_stack(tmp_path / "home", ARTIFACT, shop.items(), warm=False) as stack:
        assert sequence_of(stack, "after") == 2
        assert len(list(read_topic(stack.cluster, Topic.ITEMS))) == len(shop.items())


def rheostat(*arguments: str) -> str:
    command = Path(sys.executable).with_name("rheostat"), *arguments
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def up(home: Path, *options: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what `rheostat status` says while `rheostat up` runs, and what that said."""
    where = "--home", str(home)
    words = rheostat("up", "--detach", "--port", "0", *where, *options)
    try:
        yield json.loads(rheostat("status", *where, "--json").splitlines()[-1]), words
    finally:
        rheostat("down", *where)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_own_shop_runs_from_a_file_and_is_gone_on_with(tmp_path: Path) -> None:
    file, home = tmp_path / "products.csv", tmp_path / "home"
    with file.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["sku", "name", "category", "stock"])
        table.writerows([item.item_id, "Ours", item.category, item.stock] for item in shop.items()[:500])
        table.writerow(["", "No id", "tea", 1])

    def names_of(said: dict[str, Any]) -> set[str]:
        asked = {"shopper_id": "s", "session_id": "v", "surface": "home"}
        with urllib.request.urlopen(f"{said['door']}/v1/recommend", json.dumps(asked).encode(), 20) as answer:
            return {item["item_id"] for item in json.loads(answer.read())["slate"]}

    ids = {item.item_id for item in shop.items()[:500]}
    with up(home, "--items", str(file), "--column", "item_id=sku", "--model", str(ARTIFACT)) as (said, words):
        assert "501 lines: 500 written, 0 unchanged, 0 repeated, 0 removed, 1 refused" in words
        assert said["parts"]["items"]["answers"]
        assert ids > names_of(said) != set()
    with up(home) as (said, words):  # with the same items and the same model
        assert (said["model"], said["has_own_items"], "lines" in words) == (str(ARTIFACT), True, False)
        assert ids > names_of(said) != set()
