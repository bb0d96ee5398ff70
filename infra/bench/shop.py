"""`rheostat bench shop`: what the simulated shop takes, with and without slates, on one core."""

import statistics
import time
from typing import Any

from rich.console import Console

from features.simulator.shop import Shop

SEED, ROUNDS, SLATE_SIZE = 17, 5, 20


def measure(interactions: int, console: Console) -> dict[str, Any]:
    """Return interactions a second, median and extremes of ROUNDS; without and with slates take turns."""
    rates: dict[str, list[float]] = {"without_slates": [], "with_slates": []}
    for turn in range(ROUNDS):
        for name, of_kind in rates.items():
            of_kind.append(_rate(SEED + turn, interactions, name == "with_slates"))
    figures: dict[str, Any] = {"interactions": interactions}
    for name, of_kind in rates.items():
        figures[name] = {
            "per_second": round(statistics.median(of_kind)),
            "least": round(min(of_kind)),
            "most": round(max(of_kind)),
        }
        console.print(f"{name.replace('_', ' ')}: {statistics.median(of_kind):,.0f} interactions/s ", highlight=False)
    return figures


def _rate(seed: int, interactions: int, has_slates: bool) -> float:
    shop = Shop(seed)
    slate = [item.item_id for item in shop.items()[:: len(shop.items()) // SLATE_SIZE]][:SLATE_SIZE]
    began = time.perf_counter()
    for number in range(interactions):
        act = shop.act(number)
        if has_slates:
            shop.show(act.interaction.shopper_id, "slate", slate)
    return interactions / (time.perf_counter() - began)
