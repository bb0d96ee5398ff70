"""Shoppers before a system whose parts are killed, and what it is to come to all the same."""

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from features.errors import JobError, RheostatError, StartError
from features.interaction import Interaction
from features.sources.simulator import shop
from features.spec import View
from infra.chaos import faults, load
from infra.chaos.account import Account, Reader
from infra.chaos.deployment import Deployment, deployed
from infra.chaos.expected import expected, with_reactions
from infra.chaos.faults import Fault
from infra.chaos.servers import Servers
from streaming.io.columns import feature_columns
from streaming.io.feed import Feed
from streaming.io.online_store import OnlineStore
from streaming.records import now_ms
from streaming.schemas import FeatureRecord

TEND_S, PAUSE_S = 1.0, 0.02
HOUR_MS = 3_600_000
SETTLED_S = 240.0  # without a record that is new, after which what is missing is lost
Say = Callable[[str], None]


def run(
    home: Path, model: Path, seed: int, kills: int | Sequence[str], rate: int, between_s: float, say: Say
) -> dict[str, Any]:
    """Return what was done, and what is otherwise than it is to be.

    Args:
        home: of all data and logs; empty.
        model: folder of the artifact.
        seed: which faults come, when, and for how long.
        kills: how many, or which.
        rate: records/s that are sent.
        between_s: mean time between two faults.
        say: told what happens.

    Raises:
        StartError: a server did not come up.
    """
    many = kills if isinstance(kills, int) else len(kills)
    count = max(round(rate * between_s * max(many, 1)), 200)
    chance = random.Random(seed)
    with Servers(home).running() as servers:
        kinds = _drawn(faults.kinds(servers), kills, chance) if isinstance(kills, int) else list(kills)
        say(f"{count} events at {rate}/s, and {len(kinds)} faults")
        interactions = load.interactions(count, now_ms() - HOUR_MS)  # young enough for Feast
        wanted = expected(interactions, shop.items(), model)
        began = time.monotonic()
        chaos = _Run(servers, deployed(servers, "chaos", model), say)
        found = chaos.through(interactions, rate, kinds, chance, wanted)
        for example in found.examples(wanted):
            say(example)
    return {
        "seed": seed,
        "kills": [{"kind": of.kind, "mended_after_s": round(of.mended_after_s, 1)} for of in chaos.inflicted],
        "events": count,
        "slates": len(found.rec_ids),
        **found.differences(wanted),
        "slates_twice": found.repeats,
        "jobs_submitted_anew": chaos.deployment.restarts,
        "longest_silence_s": round(found.longest_silence_s, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def _drawn(kinds: list[str], count: int, chance: random.Random) -> list[str]:
    """Return so many faults: each kind once, before one comes again."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += chance.sample(kinds, len(kinds))
    return drawn[:count]


class _Run:
    """One deployment, from its first record to its last outcome."""

    def __init__(self, servers: Servers, deployment: Deployment, say: Say) -> None:
        self._servers, self.deployment, self._say = servers, deployment, say
        self._asked: queue.Queue[str] = queue.Queue()
        self._is_over = threading.Event()
        self.inflicted: list[Fault] = []

    def through(
        self, interactions: list[Interaction], rate: int, kinds: list[str], chance: random.Random, wanted: Account
    ) -> Account:
        """Return what came of all of it; `wanted` is told what is to come of the slates that were shown."""
        first, then = (kinds[: (len(kinds) + 1) // 2], kinds[(len(kinds) + 1) // 2 :])
        with Feed(self.deployment.cluster) as feed, self._tended(chance):
            feed.items(shop.items())
            reader = Reader(self.deployment.cluster)
            events = {interaction.event_id for interaction in interactions}
            self._send(feed, reader, load.records(interactions), rate, first, chance)
            self._settle(reader, lambda: events <= reader.slate_of.keys(), "slates")
            rows = dict(reader.account.rows)
            stale = self._stale(reader.newest)
            # In the order of their events: each shopper's reactions come in the same order in every run.
            slates = [reader.slate_of[one.event_id] for one in interactions if one.event_id in reader.slate_of]
            self._send(feed, reader, load.reactions(slates), rate, then, chance)
            with_reactions(wanted, slates)
            events |= load.clicked(slates)
            self._settle(
                reader,
                lambda: (
                    wanted.outcomes.items() <= reader.account.outcomes.items()
                    and events <= reader.slate_of.keys()
                    and self._all_mended()
                ),
                "outcomes, or slates of those who reacted,",
            )
        return replace(reader.account, rows=rows, stale=stale)

    def _send(
        self,
        feed: Feed,
        reader: Reader,
        records: list[list[load.Sent]],
        rate: int,
        kinds: list[str],
        chance: random.Random,
    ) -> None:
        """Send all records at a rate, and ask for the faults at random moments between them."""
        moments = dict(zip(sorted(chance.sample(range(len(records)), len(kinds))), kinds, strict=True))
        began = heard = time.monotonic()
        for n, its in enumerate(records):
            for sent in its:
                feed.raw(sent.topic, sent.key, sent.value)
            if n in moments:
                self._asked.put(moments[n])
            while (late_s := began + n / rate - time.monotonic()) > 0 or n % 50 == 0:
                before = reader.account.slates
                reader.read()
                if reader.account.slates > before or not before:  # what comes before the first is the start
                    heard = time.monotonic()
                silence_s = time.monotonic() - heard
                reader.account.longest_silence_s = max(reader.account.longest_silence_s, silence_s)
                if late_s <= 0:
                    break
                time.sleep(min(PAUSE_S, late_s))
        feed.flush()

    def _settle(self, reader: Reader, is_whole: Callable[[], bool], what: str) -> None:
        """Wait until it is, or until nothing has come for so long that nothing will."""
        newest = time.monotonic()
        while not is_whole():
            if reader.read():
                newest = time.monotonic()
            if self._tending.done():  # what it raises comes through where it is waited for
                return
            if time.monotonic() - newest > SETTLED_S:
                self._say(f"given up: {what} are missing, and nothing has come for {SETTLED_S:.0f} s")
                return
            time.sleep(PAUSE_S)
        while reader.read():  # what came beside it
            pass

    def _all_mended(self) -> bool:
        return self._asked.empty() and not self._open and self.deployment.runs

    def _stale(self, newest: dict[str, FeatureRecord]) -> set[str]:
        """Return of whom Feast has not the newest row, after a time in which it should have it."""
        deadline, stale = time.monotonic() + SETTLED_S, set(newest)
        with contextlib.closing(OnlineStore(self.deployment.repo, SETTLED_S)) as store:
            while stale and time.monotonic() < deadline:
                stale = {one for one in stale if not _is_of(store.row(one), newest[one])}
                time.sleep(TEND_S if stale else 0.0)
        return stale

    @contextlib.contextmanager
    def _tended(self, chance: random.Random) -> Iterator[None]:
        """Inflict what is asked for, mend it in its time, and put others in the place of what has ended."""
        self._open: list[tuple[float, Fault]] = []
        with ThreadPoolExecutor(1) as beside:
            self._tending = beside.submit(self._tend, random.Random(chance.random()))
            try:
                yield
            finally:
                self._is_over.set()
        self._tending.result()
        self.deployment.close()

    def _tend(self, chance: random.Random) -> None:
        began = time.monotonic()
        while not self._is_over.is_set():
            with contextlib.suppress(queue.Empty):
                kind = self._asked.get(timeout=TEND_S / 4)
                try:
                    fault = faults.inflict(kind, self._servers, self.deployment, chance)
                except JobError:  # what was to be killed is away as it is
                    self._asked.put(kind)
                else:
                    self.inflicted.append(fault)
                    self._open.append((time.monotonic() + fault.mended_after_s, fault))
                    self._say(f"{time.monotonic() - began:6.1f} s: {kind}, mended after {fault.mended_after_s:.1f} s")
            for due in [one for one in self._open if one[0] <= time.monotonic()]:
                with contextlib.suppress(StartError, JobError):  # then it is tried again
                    due[1].mend()
                    self._open.remove(due)
            with contextlib.suppress(RheostatError):
                self._servers.tend()
                self.deployment.tend()


def _is_of(stored: dict[View, dict[str, object]], record: FeatureRecord) -> bool:
    """Return whether that is what Feast has of a record."""
    has = {name: value for values in stored.values() for name, value in values.items()}
    wanted = {
        name: list(value) if isinstance(value, tuple) else value for name, value in feature_columns(record).items()
    }
    is_whole = all(stored.get(view) for view in (View.SESSION, View.PROFILE))  # they are written one after the other
    return is_whole and all(value == wanted[name] for name, value in has.items() if name in wanted)
