"""`rheostat bench catalogue`: what an answer costs in a shop of the model's size, and what the shop's start does.

In one process, without Flink and Kafka. `python -m infra.bench.untrained_model` makes a model of any size.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from features.progress import Bar
from features.spec import CONTENT_DIM
from infra.bench.slate import POLICIES
from onnx_models.artifact import Items
from streaming.control.catalogue import Catalogue
from streaming.control.item_records import newest_items
from streaming.control.state import ControlState
from streaming.flink.garbage import keep_loaded
from streaming.policy.table import PolicyTable
from streaming.records import Record, encode
from streaming.schemas import AskedItem, Click, ClickKind, Item, Origin, Request, Topic
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Recommender, new_states

SEED = 29
BUNDLES = (1, 4, 16, 64)
MIX = ("a page", "candidates", "a page", "category")
REQUESTS = ("a page", "candidates", "category", "filter", "filter by text", "mix")
REQUEST_BUNDLES = (1, 4, 16)
SHOPPERS, START_MS = 500, 1_700_000_000_000
Of = TypeVar("Of")
WARM_SHARE = 5  # a part of as many is not counted


def measure(folder: Path, events: int, policy: str, device: str, console: Console) -> dict[str, Any]:
    """Return the figures of the artifact in `folder` under one of `infra.bench.slate.POLICIES`.

    Raises:
        ArtifactError: there is none, or it does not run on `device`.
    """
    before_mb = _resident_mb()
    model, load_s = _timed(lambda: SessionModel(folder, device))
    loaded_mb = _resident_mb()
    catalogue, items_s = _timed(lambda: catalogue_of(model.items, console))
    control = ControlState(catalogue, model.manifest.model_version)
    control.table = PolicyTable({record.scope: record for record in POLICIES[policy]})
    figures: dict[str, Any] = {
        "items": model.manifest.item_count,
        "device": model.device,
        "policy": policy,
        "model_load_s": round(load_s, 2),
        "model_mb": round(loaded_mb - before_mb),
        "items_s": round(items_s, 2),
        "items_mb": round(_resident_mb() - loaded_mb),
    }
    recommender = Recommender(model, control, "home")
    keep_loaded()  # as the job does
    table = Table("records at once", "µs a record", "of which the model", "ms p99", title=f"{figures['items']:,} items")
    for size in BUNDLES:
        figures[f"at_once_{size}"] = of_size = _answers(recommender, model, size, events)
        table.add_row(str(size), f"{of_size['us']:,}", f"{of_size['model_us']:,}", f"{of_size['p99_ms']:,}")
    console.print(table)
    columns = (f"{size} at once: µs, of which the model" for size in REQUEST_BUNDLES)
    table = Table("request", *columns, title="asked for, the CPU of one")
    for kind in REQUESTS:
        count = max(events // 5, 20)
        figures[kind] = {f"at_once_{size}": _asked(recommender, model, kind, size, count) for size in REQUEST_BUNDLES}
        table.add_row(kind, *(f"{of['us']:,} / {of['model_us']:,}" for of in figures[kind].values()))
    console.print(table)
    console.print({name: value for name, value in figures.items() if not isinstance(value, dict)})
    return figures


def _answers(recommender: Recommender, model: SessionModel, size: int, events: int) -> dict[str, float]:
    """Return the CPU time of a record in bundles of `size`, us."""
    states: dict[str, bytes] = {}
    log = list(itertools.islice(clicks(model.items), events))
    took_ns, model_ns, records = list[int](), 0, 0
    for first in range(0, events, size):
        bundle = log[first : first + size]
        began = time.thread_time_ns()
        responses = recommender.answer_many(bundle, states)
        used = time.thread_time_ns() - began
        states |= new_states(bundle, responses)
        if first >= events // WARM_SHARE:
            took_ns.append(used)
            model_ns += max(response.model_ns for response in responses)
            records += len(bundle)
    return {
        "us": round(sum(took_ns) / records / 1e3, 1),
        "model_us": round(model_ns / records / 1e3, 1),
        "p99_ms": round(float(np.percentile(took_ns, 99)) / 1e6, 2),
    }


def _asked(recommender: Recommender, model: SessionModel, kind: str, size: int, count: int) -> dict[str, float]:
    """Return the CPU time of a request of one of REQUESTS, us, in bundles of `size`: of shoppers who have clicked."""
    states: dict[str, bytes] = {}
    for click in itertools.islice(clicks(model.items), 3 * SHOPPERS):
        states |= new_states([click], recommender.answer_many([click], states))
    requests = _requests(kind, model.items)
    took_ns, model_ns, answered = list[int](), 0, 0
    for first in range(0, count, size):
        bundle = list(itertools.islice(requests, size))
        began = time.thread_time_ns()
        responses = recommender.answer_many(bundle, states)
        used = time.thread_time_ns() - began
        assert all(response.slate is not None for response in responses), responses
        if first >= count // WARM_SHARE:
            took_ns.append(used)
            model_ns += max(response.model_ns for response in responses)
            answered += size
    return {
        "us": round(sum(took_ns) / answered / 1e3, 1),
        "model_us": round(model_ns / answered / 1e3, 1),
        "p99_ms": round(float(np.percentile(took_ns, 99)) / 1e6, 2),
    }


def _requests(kind: str, items: Items) -> Iterator[Record]:
    """Yield requests of one of REQUESTS, of the shoppers of `clicks` in turn."""
    rng, ids = np.random.default_rng(SEED), items.ids
    for n in itertools.count():
        own = rng.integers(1, len(ids), 100)
        wishes: dict[str, dict[str, Any]] = {
            "a page": {},
            "candidates": {"candidates": tuple([AskedItem(ids[index], 1.0) for index in own.tolist()])},
            "category": {"category": _category(int(own[0]), items)},
            "filter": {"filter": f"item.price < {20 + n % 100} and item.stock > 0"},
            "filter by text": {"filter": f"item.brand == {_brand(int(own[0]), items)!r}"},
        }
        request = Request(
            request_id=f"{kind}-{n}",
            shopper_id=f"s-{n % SHOPPERS}",
            session_id="0",
            surface="listing",
            event_time_ms=START_MS + 60_000,
            **wishes[MIX[n % len(MIX)] if kind == "mix" else kind],
        )
        yield Record(request.shopper_id, encode(request), Origin(Topic.REQUESTS, 0, n))


def clicks(items: Items, shoppers: str = "s-") -> Iterator[Record]:
    """Yield clicks of SHOPPERS, whose ids begin with `shoppers`, on items as Zipf has it, in sessions of twelve."""
    rng, last = np.random.default_rng(SEED), len(items.ids) - 1
    for n in itertools.count():
        shopper, at = n % SHOPPERS, n // SHOPPERS
        click = Click(
            event_id=f"{shoppers}e-{n}",
            shopper_id=f"{shoppers}{shopper}",
            session_id=f"{at // 12}",
            item_id=items.ids[1 + int(rng.zipf(1.1)) % last],
            event_time_ms=START_MS + at * 20_000 + shopper,
            kind=ClickKind.VIEW,
        )
        yield Record(click.shopper_id, encode(click), Origin(Topic.CLICKS, 0, n))


def catalogue_of(items: Items, console: Console) -> Catalogue:
    """Return all items on sale: their prices lognormal, a category for each hundred, a brand for each fifty."""
    rng, count = np.random.default_rng(SEED), len(items.ids)
    prices = rng.lognormal(3.0, 1.0, count).round(2).tolist()
    content = rng.standard_normal((count, CONTENT_DIM)).round(3)

    def records() -> Iterator[tuple[Origin, bytes, bytes]]:
        for n in progress.track(range(1, count), description="items"):
            item = Item(
                item_id=items.ids[n],
                name=items.ids[n],
                category=_category(n, items),
                brand=_brand(n, items),
                merchant=f"m{n % 60}",
                price=prices[n],
                margin=0.3,
                content=tuple(content[n].tolist()),
            )
            yield Origin(Topic.ITEMS, 0, n), item.item_id.encode(), encode(item)

    catalogue = Catalogue(items)
    with Bar(console, transient=True) as progress:
        on_sale, offset = newest_items(records())
    assert len(on_sale) == count - 1, "a record of an item was refused"
    catalogue.put_all(on_sale, offset)
    return catalogue


def _category(index: int, items: Items) -> str:
    return f"c{index % (len(items.ids) // 100 + 1)}"


def _brand(index: int, items: Items) -> str:
    return f"b{index % (len(items.ids) // 50 + 1)}"


def _timed(call: Callable[[], Of]) -> tuple[Of, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6
