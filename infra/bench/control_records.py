"""`python -m infra.bench.control_records --items 43000`: what records of estimates cost the thread of the slates."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from features.spec import OLDEST_MS
from streaming.control.catalogue import Catalogue, unknown_to_any_model
from streaming.control.item_estimates import EstimateTable
from streaming.policy.estimate_parts import parts_of
from streaming.policy.estimates import LEVELS
from streaming.records import decode, encode
from streaming.schemas import Estimates, Item, ItemEstimate, LevelEstimate, Origin, Topic

SEED, CATEGORIES, BRANDS, CANDIDATES, SLATES = 0, 300, 1_000, 200, 300


def measure(count: int) -> dict[str, Any]:
    """Return figures of `count` items with lognormal prices, of all of which something is learnt; CPU time."""
    rng = np.random.default_rng(SEED)
    ids = [f"item-{n:07}" for n in range(count)]
    catalogue = Catalogue(unknown_to_any_model(ids))
    for n, (item_id, price) in enumerate(zip(ids, rng.lognormal(3.0, 1.0, count).round(2).tolist(), strict=True)):
        item = Item(item_id=item_id, name="n", category=f"c{n % CATEGORIES}", brand=f"b{n % BRANDS}", price=price)
        catalogue.put(item_id, item, n)
    table = EstimateTable(catalogue)
    records = [(part.name, encode(part)) for part in parts_of(_learnt(ids))]

    def take_over(name: str, raw: bytes) -> None:
        part = decode(name, raw, Origin(Topic.ESTIMATES, 0, 0))
        assert isinstance(part, Estimates)
        table.put(name, part)

    record_ms = [_cpu_ms(lambda name=name, raw=raw: take_over(name, raw)) for name, raw in records]  # type: ignore[misc]
    slates = [rng.choice(np.arange(1, count + 1), CANDIDATES, replace=False) for _ in range(SLATES)]
    first_ms = [_cpu_ms(lambda of=of: table.of(of)) for of in slates[:50]]  # type: ignore[misc]
    again_ms = [_cpu_ms(lambda: table.of(slates[0])) for _ in range(1_000)]
    return {
        "items": count,
        "records": len(records),
        "bytes_at_most": max(len(raw) for _, raw in records),
        "record_ms": {"p50": _rounded(np.median(record_ms)), "max": _rounded(max(record_ms))},
        "slate_of_new_items_ms": {"p50": _rounded(np.median(first_ms)), "max": _rounded(max(first_ms))},
        "slate_again_us": _rounded(1_000 * np.median(again_ms)),
    }


def _learnt(ids: list[str]) -> Estimates:
    return Estimates(
        version=1,
        time_ms=OLDEST_MS,
        model_version="bench",
        intercept=0.0,
        slope=1.0,
        click_rate=0.1,
        buy_rate=0.05,
        looked=(1.0,),
        prior_spread=0.4,
        levels=(LevelEstimate(1.0, 1.0),) * LEVELS,
        brands={f"b{n}": 1.5 for n in range(BRANDS)},
        items=dict.fromkeys(ids, ItemEstimate(1.2345, 0.1234, 1.2345)),
    )


def _cpu_ms(act: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    act()
    return (time.thread_time_ns() - began) / 1e6


def _rounded(value: Any) -> float:
    return round(float(value), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[43_000], help="of the catalogue; each a run")
    for count in parser.parse_args().items:
        print(json.dumps(measure(count)))  # noqa: T201


if __name__ == "__main__":
    main()
