"""`python -m infra.bench.control_records --items 43000`: what estimates and items cost the slates' thread."""

import argparse
import json
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.spec import OLDEST_MS
from streaming.control.catalogue import Catalogue, unknown_to_any_model
from streaming.control.item_estimates import EstimateTable
from streaming.policy.estimate_parts import parts_of
from streaming.policy.estimates import LEVELS
from streaming.policy.table import PolicyTable
from streaming.records import decode, encode
from streaming.schemas import Estimates, Item, ItemEstimate, LevelEstimate, Origin, Policy, Topic

SEED, CANDIDATES, SLATES, CHANGES = 0, 200, 300, 1_000
_MERCHANTS = Policy(scope="merchant:m7", version=2, author="bench", weights={"relevance": 2.0})


def measure(count: int, categories: int, brands: int, merchants: int) -> dict[str, Any]:
    """Return figures of `count` items with lognormal prices, of all of which something is learnt; CPU time."""
    rng = np.random.default_rng(SEED)
    ids = [f"item-{n:07}" for n in range(count)]
    catalogue = Catalogue(unknown_to_any_model(ids))
    for n, (item_id, price) in enumerate(zip(ids, rng.lognormal(3.0, 1.0, count).round(2).tolist(), strict=True)):
        catalogue.put(item_id, _item(n, item_id, price, categories, brands, merchants), n)
    table = EstimateTable(catalogue)
    records = [(part.name, encode(part)) for part in parts_of(_learnt(ids, brands))]

    def take_over(name: str, raw: bytes) -> None:
        part = decode(name, raw, Origin(Topic.ESTIMATES, 0, 0))
        assert isinstance(part, Estimates)
        table.put(name, part)

    record_ms = [_cpu_ms(lambda name=name, raw=raw: take_over(name, raw)) for name, raw in records]  # type: ignore[misc]
    slates = [rng.choice(np.arange(1, count + 1), CANDIDATES, replace=False) for _ in range(SLATES)]
    first_ms = [_cpu_ms(lambda of=of: table.of(of)) for of in slates[:50]]  # type: ignore[misc]
    again_ms = [_cpu_ms(lambda: table.of(slates[0])) for _ in range(1_000)]
    plan = PolicyTable({"merchant:m7": _MERCHANTS}).of("home", {}, "s")

    def ask(of: NDArray[np.int64]) -> None:
        """Ask what every slate asks of the catalogue."""
        table.of(of)
        plan.rows(catalogue.merchant_names)
        list(islice(catalogue.popular(), CANDIDATES))
        catalogue.column("cheaper", of)
        assert catalogue.averages.value > 0

    item_ms, after_ms = list[float](), list[float]()
    for n in range(CHANGES):  # each with another price, another stock and a merchant of its own
        item = _item(n, ids[n * (count // CHANGES)], 1.0 + n, categories, brands, merchants + n + 1)
        item = msgspec.structs.replace(item, stock=n % 2)
        item_ms.append(_cpu_ms(lambda item=item, n=n: catalogue.put(item.item_id, item, count + n)))  # type: ignore[misc]
        after_ms.append(_cpu_ms(lambda n=n: ask(slates[n % SLATES])))  # type: ignore[misc]
    return {
        "items": count,
        "item_record_ms": {"p50": _rounded(np.median(item_ms)), "max": _rounded(max(item_ms))},
        "slate_after_it_ms": {"p50": _rounded(np.median(after_ms)), "max": _rounded(max(after_ms))},
        "records": len(records),
        "bytes_at_most": max(len(raw) for _, raw in records),
        "record_ms": {"p50": _rounded(np.median(record_ms)), "max": _rounded(max(record_ms))},
        "slate_of_new_items_ms": {"p50": _rounded(np.median(first_ms)), "max": _rounded(max(first_ms))},
        "slate_again_us": _rounded(1_000 * np.median(again_ms)),
    }


def _learnt(ids: list[str], brands: int) -> Estimates:
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
        brands={f"b{n}": 1.5 for n in range(brands)},
        items=dict.fromkeys(ids, ItemEstimate(1.2345, 0.1234, 1.2345)),
    )


def _item(n: int, item_id: str, price: float, categories: int, brands: int, merchants: int) -> Item:
    category, brand, merchant = f"c{n % categories}", f"b{n % brands}", f"m{n % merchants}"
    return Item(item_id=item_id, name="n", price=price, category=category, brand=brand, merchant=merchant)


def _cpu_ms(act: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    act()
    return (time.thread_time_ns() - began) / 1e6


def _rounded(value: Any) -> float:
    return round(float(value), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[43_000], help="of the catalogue; each a run")
    for name, count in (("categories", 300), ("brands", 1_000), ("merchants", 100)):
        parser.add_argument(f"--{name}", type=int, default=count)
    options = parser.parse_args()
    for count in options.items:
        print(json.dumps(measure(count, options.categories, options.brands, options.merchants)))  # noqa: T201


if __name__ == "__main__":
    main()
