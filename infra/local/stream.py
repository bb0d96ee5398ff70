"""Lets traffic in at a rate, shows its shoppers their slates as they come, and keeps the figures."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from features.interaction import Interaction
from infra.local.subscriber import Subscriber
from infra.local.traffic import Traffic
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.schemas import Fallback, Recommendation, Topic

DRAIN_S = 10.0
POLL_S = 0.001
SHOWN_EVERY_S, SAID_EVERY_S = 0.5, 10.0  # in a terminal, elsewhere


@dataclass
class Figures:
    """What is counted while the stream runs."""

    sent: dict[str, float] = field(default_factory=dict)  # event id -> time of sending, s
    interactions: dict[str, Interaction] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    requested: dict[str, float] = field(default_factory=dict)  # request id -> time of sending, s
    page_latency_ms: dict[str, float] = field(default_factory=dict)  # by request id
    fallbacks: int = 0
    last: dict[str, Recommendation] = field(default_factory=dict)  # by shopper

    @property
    def is_whole(self) -> bool:
        """Whether all that was sent has its slate."""
        return len(self.latency_ms) == len(self.sent) and len(self.page_latency_ms) == len(self.requested)

    def percentile(self, q: float) -> float:
        return _percentile(self.latency_ms, q)

    def summary(self) -> dict[str, Any]:
        return {
            "events": len(self.sent),
            "slates": len(self.latency_ms),
            "popular_fallbacks": self.fallbacks,
            "p50_ms": round(self.percentile(50), 2),
            "p99_ms": round(self.percentile(99), 2),
            "max_ms": round(self.percentile(100), 2),
            "pages": len(self.requested),
            "page_slates": len(self.page_latency_ms),
            "pages_p50_ms": round(_percentile(self.page_latency_ms, 50), 2),
            "pages_p99_ms": round(_percentile(self.page_latency_ms, 99), 2),
        }


def let_in(
    traffic: Traffic,
    feed: Feed,
    cluster: Cluster,
    count: int,
    rate: float,
    console: Console,
    at: Mapping[int, Callable[[], None]] | None = None,
    assert_running: Callable[[], None] = lambda: None,
) -> Figures:
    """Send what happens when it is due, and take every slate to its shopper.

    These are `count` interactions, `rate` of them a second, and the requests of pages that are opened beside them.

    Args:
        traffic: who comes.
        feed: where to write.
        cluster: where to read the slates.
        count: of interactions.
        rate: of interactions, 1/s.
        console: for the progress.
        at: what else happens, each before the interaction of that number.
        assert_running: called now and then; raises if there is nothing left to wait for.
    """
    figures, due = Figures(), dict(at or {})
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation) as slates,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=count)
        began = said_at = time.perf_counter()
        shown_at = 0.0
        give_up = began + count / rate + DRAIN_S
        while len(figures.sent) < count or (not figures.is_whole and time.perf_counter() < give_up):
            number, now = len(figures.sent), time.perf_counter()
            if number < count and now >= began + number / rate:
                due.pop(number, _nothing)()
                happened = traffic.next()
                interaction, looked_at = happened.interaction, happened.looked_at
                feed.items(traffic.changes())
                if looked_at is not None:
                    feed.impression(looked_at, interaction.event_time_ms)
                figures.interactions[interaction.event_id] = interaction
                figures.sent[interaction.event_id] = time.perf_counter()
                feed.interaction(interaction, happened.rec_id)
                if happened.request is not None:
                    figures.requested[happened.request.request_id] = time.perf_counter()
                    feed.request(happened.request)
            _take(slates.poll(POLL_S), figures, traffic)
            if now - shown_at > SHOWN_EVERY_S:
                shown_at = now
                progress.update(task, completed=number, description=_live(figures, traffic))
                assert_running()
            if not console.is_terminal and now - said_at > SAID_EVERY_S:
                said_at = now
                console.print(f"{now - began:3.0f} s  {_live(figures, traffic)}", highlight=False, soft_wrap=True)
        progress.update(task, completed=count, description=_live(figures, traffic))
    return figures


def click_through(traffic: Traffic) -> str:
    """Return in words how many of the slates that were looked at were clicked, by what they were."""
    arms = traffic.click_through().items()
    return ", ".join(f"{arm} {clicks / looks:.1%} of {looks:,}" for arm, (clicks, looks) in arms)


def _nothing() -> None:
    pass


def _take(slate: Recommendation | None, figures: Figures, traffic: Traffic) -> None:
    if slate is None:
        return
    sent, latency_ms = figures.sent, figures.latency_ms
    if slate.request_id is not None:
        sent, latency_ms = figures.requested, figures.page_latency_ms
    if slate.event_id not in sent or slate.event_id in latency_ms:
        return  # another's, or made again
    latency_ms[slate.event_id] = (time.perf_counter() - sent[slate.event_id]) * 1000
    figures.fallbacks += slate.fallback is not Fallback.NONE
    if slate.request_id is None:
        figures.last[slate.shopper_id] = slate
    traffic.show(slate)


def _percentile(latency_ms: Mapping[str, float], q: float) -> float:
    return float(np.percentile(list(latency_ms.values()) or [0.0], q))


def _live(figures: Figures, traffic: Traffic) -> str:
    words = click_through(traffic)
    return (
        f"events {len(figures.sent):,}  slates {len(figures.latency_ms):,}  "
        f"p50 {figures.percentile(50):.1f} ms  p99 {figures.percentile(99):.1f} ms"
    ) + (f"  click-through: {words}" if words else "")
