"""`python -m infra.bench.year`: a year of stream time, in which everything in the shop changes: is anything left over?

The jobs' code in one process (`streaming.testing`), on a simulated clock. Each day new items of new merchants, brands
and categories come and as many go, prices and stock change, shoppers come once or every day, slates are shown, clicked,
bought and returned, and all is learnt from. What the engine forgets by time to live is forgotten here by the same time.
"""

import argparse
import contextlib
import gc
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import psutil

from features.interaction import ShopItem
from features.sources.simulator import shop
from features.spec import CONTENT_DIM, DAY_MS, MINUTE_MS, STATE_TTL_MS
from streaming.schemas import Click, ClickKind, Purchase, Return
from streaming.scoring.model import SessionModel
from streaming.testing import Pipeline, impression

ARTIFACT = Path("onnx_models/artifacts/generator")
START_MS = 1_700_000_000_000
REPORTS = 8
REGULARS = 40  # shoppers who come every day or two
STEPS, BUY, RETURN = 4, 0.3, 0.3  # clicks of a visit; chances that it ends with a purchase, and that it comes back
TURNED, LEARN_EVERY = 100, 10  # items with another price, a day; visits


class Year:
    """A shop, day by day.

    Args:
        churn: items that come and go in a day.
        visits: of shoppers, in a day.
    """

    def __init__(self, churn: int, visits: int) -> None:
        self.random = Random(0)
        self.pipeline = Pipeline(SessionModel(ARTIFACT), shop.items())
        self.churn, self.visits = churn, visits
        self.busy_s, self.counts = defaultdict[str, float](float), Counter[str]()
        self._seen_ms: dict[str, int] = {}
        self._fresh: list[ShopItem] = []

    def day(self, day: int) -> None:
        """Let a day go by."""
        came, gone = [self._new(day, n) for n in range(self.churn)], self._fresh
        turned = [
            replace(item, price=round((item.price or 1.0) * self.random.uniform(0.8, 1.25), 2))
            for item in self.random.sample(shop.items(), TURNED)
        ]
        with self._counted("item", len(came) + len(gone) + TURNED):
            self.pipeline.put([*came, *turned])
            for item in gone:
                self.pipeline.remove(item.item_id)
        self._fresh = came
        for visit in range(self.visits):
            n = self.random.randrange(2 * REGULARS)
            at_ms = START_MS + day * DAY_MS + visit * DAY_MS // self.visits
            self._visit(f"regular-{n}" if n < REGULARS else f"guest-{day}-{visit}", at_ms)
            if visit % LEARN_EVERY == 0:
                with self._counted("batch", 1):
                    self.pipeline.learn()
        for shopper_id, seen_ms in list(self._seen_ms.items()):
            if seen_ms < at_ms - STATE_TTL_MS:
                self.pipeline.forget(shopper_id)
                del self._seen_ms[shopper_id]

    def report(self, day: int) -> dict[str, Any]:
        """Return what memory is held, and what things have cost since the last report; begin anew."""
        gc.collect()
        figures: dict[str, Any] = {"day": day, "rss_mb": round(psutil.Process().memory_info().rss / 1e6)}
        figures |= {f"{what}_count": count for what, count in self.counts.items()}
        figures |= {f"us_per_{what}": round(1e6 * self.busy_s[what] / count) for what, count in self.counts.items()}
        regular = [size for shopper_id, size in self.pipeline.state_bytes().items() if shopper_id.startswith("regular")]
        figures["regular_bytes"] = round(sum(regular) / max(len(regular), 1))
        self.busy_s.clear()
        self.counts.clear()
        return figures

    def _new(self, day: int, n: int) -> ShopItem:
        """Return an item of whom nobody has heard, nor of its merchant, brand and category."""
        name = f"{day}-{n}"
        content = tuple([self.random.gauss(0, 1) for _ in range(CONTENT_DIM)])
        price = round(self.random.lognormvariate(3, 1), 2)
        return ShopItem(f"new-{name}", name, f"c{name}", f"b{name}", f"m{name}", price, 0.3, content=content)

    def _visit(self, shopper_id: str, at_ms: int) -> None:
        self._seen_ms[shopper_id] = at_ms
        rec_id, items = None, [item.item_id for item in self.random.choices(shop.items(), k=3)]
        for step in range(STEPS):
            at = at_ms + step * MINUTE_MS
            did: dict[str, Any] = {"event_id": f"{at_ms}-{step}", "event_time_ms": at, "session_id": f"{at_ms}"}
            did |= {"shopper_id": shopper_id, "item_id": items[step % len(items)]}
            with self._counted("event", 1):
                slate = self.pipeline.interact(Click(**did, kind=ClickKind.VIEW, rec_id=rec_id))
                self.pipeline.feedback(impression(slate, slate.event_time_ms + 1_000))
            rec_id, items = slate.rec_id, [item.item_id for item in slate.slate]
        order: dict[str, Any] = {"shopper_id": shopper_id, "item_id": items[0], "order_id": f"{at_ms}"}
        if self.random.random() < BUY:
            at = at_ms + STEPS * MINUTE_MS
            bought: dict[str, Any] = {"event_id": f"{at_ms}-b", "session_id": f"{at_ms}", "event_time_ms": at}
            with self._counted("event", 1):
                self.pipeline.interact(Purchase(**order, **bought, price=10.0, rec_id=rec_id))
            if self.random.random() < RETURN:
                back = Return(**order, event_id=f"{at_ms}-r", event_time_ms=at_ms + DAY_MS)
                self.pipeline.feedback(back)

    @contextlib.contextmanager
    def _counted(self, what: str, count: int) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.busy_s[what] += time.thread_time() - began
        self.counts[what] += count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--churn", type=int, default=1_000, help="items that come and go in a day")
    parser.add_argument("--visits", type=int, default=100, help="of shoppers in a day")
    parser.add_argument("--days", type=int, default=364)
    options = parser.parse_args()
    year, reports = Year(options.churn, options.visits), list[dict[str, Any]]()
    for day in range(1, options.days + 1):
        year.day(day)
        if day % max(options.days // REPORTS, 1) == 0:
            reports.append(year.report(day))
            sys.stderr.write(f"{reports[-1]}\n")
    print(json.dumps(reports))  # noqa: T201


if __name__ == "__main__":
    main()
