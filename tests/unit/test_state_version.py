"""What the jobs keep has a version: who changes it has to raise that, and to keep savepoints of it."""

import json
from pathlib import Path
from typing import Any

import msgspec

from features.shopper import ShopperState
from streaming.flink.state import STATE_VERSION
from streaming.policy import attribution
from streaming.policy.complements import OrderLine, OrderTally
from streaming.policy.kept_slate import KeptSlate
from streaming.policy.learning_state import LearningState

GOLDEN = Path(__file__).parents[1] / "golden"
KEPT = (
    ShopperState,
    KeptSlate,
    attribution.Waiting,
    attribution.Clicked,
    attribution.SoldFrom,
    attribution.ShownCounts,
    OrderLine,
    OrderTally,
    LearningState,
)


def shape() -> Any:
    """Return how all that is kept is written, without words."""
    schemas, components = msgspec.json.schema_components(KEPT)
    return bare({"kept": list(schemas), "parts": components})


def bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key not in ("description", "title")}
    return [bare(value) for value in schema] if isinstance(schema, list) else schema


def test_what_is_kept_is_what_its_version_says() -> None:
    golden = json.loads((GOLDEN / f"state_{STATE_VERSION}.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(shape())) == golden, (
        f"what the jobs keep has changed: raise STATE_VERSION, write tests/golden/state_{STATE_VERSION + 1}.json and "
        f"savepoints (`PYTHONPATH=tests python -m support.savepoints tests/golden/savepoints/{STATE_VERSION + 1}`)"
    )
