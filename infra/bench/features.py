"""`rheostat bench features`: what a feature row costs, and what a shopper weighs in keyed state."""

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from features import shopper
from features.extraction import extract_row
from features.interaction import Interaction, ShopItem
from features.shopper import ShopperState
from features.sources.datasets import jdata
from features.sources.simulator import shop
from onnx_models.artifact import Items, read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.io.feed import to_item, to_message
from streaming.scoring.advance import interaction

SEED = 17
SHOPPERS, EVENTS_PER_SECOND = 200, 10.0  # each acts every 20 s
START_MS = 1_700_000_000_000
STATE_AFTER = 500  # interactions


def measure(model: Path, events: int, data_dir: Path | None, console: Console) -> dict[str, Any]:
    """Return the figures of the simulated shop's traffic and, with `data_dir`, of JData's."""
    known = read_items(model, read_manifest(model))
    figures: dict[str, Any] = {}
    if data_dir is not None:
        console.print("JData")
        log = jdata.open_log(data_dir)
        figures["jdata"] = _measure(_without_model(log.items()), log.items(), log.interactions(), console)
    console.print("simulated shop")
    parameters = shop.Parameters(shopper_count=SHOPPERS, visitor_count=SHOPPERS)
    traffic = shop.interactions(SEED, START_MS, EVENTS_PER_SECOND, parameters)
    return _measure(known, shop.items(), itertools.islice(traffic, events), console) | figures


def _without_model(items: list[ShopItem]) -> Items:
    """Return `items` with as many neighbours as a model would bring; which ones costs nothing."""
    ids = ["", *(item.item_id for item in items)]
    numbers = (np.arange(len(ids))[:, None] + np.arange(1, 9)) % len(ids)
    none = np.zeros(len(ids), dtype=np.float32)
    return Items(ids, none, numbers.astype(np.int32), np.full(numbers.shape, 0.5, dtype=np.float32))


def _measure(known: Items, items: list[ShopItem], log: Iterable[Interaction], console: Console) -> dict[str, Any]:
    catalogue = Catalogue(known)
    for offset, item in enumerate(items):
        catalogue.put(item.item_id, to_item(item), offset)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(ShopperState)
    state_of: dict[str, bytes] = {}
    counts: dict[str, int] = {}
    row_us, codec_us, state_bytes = [], [], []
    for event in log:
        did = interaction(to_message(event), catalogue)
        before = state_of.get(event.shopper_id)
        a = time.perf_counter()
        state = shopper.new() if before is None else decoder.decode(before)
        b = time.perf_counter()
        state = shopper.update(state, did)
        extract_row(event.shopper_id, shopper.view(state), catalogue)
        c = time.perf_counter()
        state_of[event.shopper_id] = encoder.encode(state)
        d = time.perf_counter()
        row_us.append((c - b) * 1e6)
        codec_us.append((b - a + d - c) * 1e6)
        counts[event.shopper_id] = counts.get(event.shopper_id, 0) + 1
        if counts[event.shopper_id] == STATE_AFTER:
            state_bytes.append(len(state_of[event.shopper_id]))
    p50, p90, p99 = np.percentile(row_us, [50, 90, 99]).tolist()
    sizes = state_bytes or [len(state) for state in state_of.values()]
    figures: dict[str, Any] = {
        "events": len(row_us),
        "p50_us": round(p50, 1),
        "p90_us": round(p90, 1),
        "p99_us": round(p99, 1),
        "codec_p50_us": round(float(np.median(codec_us)), 1),
        "state_bytes_p50": int(np.median(sizes)),
        "state_bytes_max": max(sizes),
        "state_after": STATE_AFTER if state_bytes else "all",
    }
    said = "  ".join(f"{name} {value}" for name, value in figures.items())
    console.print(f"{len(items):,} items, {len(state_of):,} shoppers: {said}", highlight=False, soft_wrap=True)
    return figures
