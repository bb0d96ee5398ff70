"""Logs as splits: the simulated shop, JData, and any folder in the layout of the SR-GNN splits."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.sessions import Orders, Sessions, Split
from features.errors import DatasetError
from features.interaction import Interaction, Kind, ShopItem
from features.sources.datasets import jdata
from features.sources.datasets.files import parquet
from features.sources.simulator import shop

GENERATOR_TRAINING_COUNT, GENERATOR_TEST_COUNT = 200_000, 20_000
TRAINING_SEED, TEST_SEED = 101, 102  # the demo's shoppers have another
TRAIN, TEST = "train_sessions.parquet", "test_sessions.parquet"
COLUMNS = ["session_idx", "pos", "item_id"]


def generator() -> tuple[Split, list[Interaction]]:
    """Return the split of the simulated shop, and its training log."""
    log = list(itertools.islice(shop.interactions(TRAINING_SEED, 0, 100), GENERATOR_TRAINING_COUNT))
    test = list(itertools.islice(shop.interactions(TEST_SEED, 0, 100), GENERATOR_TEST_COUNT))
    return of_log("generator", shop.items(), log, test), log


def jdata_views(folder: Path | None) -> tuple[Split, list[Interaction]]:
    """Return JData's views and orders, and the training log: figures on it are about the next view."""
    log, test = (
        [
            interaction
            for interaction in jdata.open_log(folder, part).interactions()
            if interaction.kind is not Kind.FAVOURITE
        ]
        for part in ("train", "test")
    )
    return of_log("jdata", jdata.open_log(folder).items(), log, test), log


def of_log(name: str, items: Sequence[ShopItem], log: Iterable[Interaction], test: Iterable[Interaction]) -> Split:
    ids = ["", *(item.item_id for item in items)]
    levels = [(item.category, item.brand, item.merchant) for item in items]
    content = tuple(_numbers(values) for values in zip(*levels, strict=True))
    index_of = {item: n for n, item in enumerate(ids) if n}
    log, test = list(log), list(test)
    return Split(
        name,
        ids,
        _numbered(clicked(log), ids),
        _numbered(clicked(test), ids),
        content,
        bought(log, index_of),
        bought(test, index_of),
    )


def srgnn(folder: Path) -> Split:
    """Return the split in `folder`; the items are those of its training sessions.

    Raises:
        DatasetError: it lacks a file or a column.
    """
    train = _sessions(folder, TRAIN)
    known = sorted({item for session in train for item in session})
    ids = ["", *map(str, known)]
    return Split(folder.name, ids, _numbered([list(map(str, s)) for s in train], ids), test_sessions(folder, ids))


def test_sessions(folder: Path, ids: Sequence[str]) -> Sessions:
    """Return the test sessions of `folder` in the numbers of `ids`."""
    return _numbered([list(map(str, session)) for session in _sessions(folder, TEST)], ids)


def _sessions(folder: Path, name: str) -> list[list[int]]:
    path = folder / name
    if not path.is_file():
        msg = f"{path} is missing; expected {TRAIN} and {TEST} with the columns {', '.join(COLUMNS)}"
        raise DatasetError(msg)
    table = parquet(path, COLUMNS).sort("session_idx", "pos").collect()
    sessions: list[list[int]] = table.group_by("session_idx", maintain_order=True).agg("item_id")["item_id"].to_list()
    return sessions


def clicked(log: Iterable[Interaction]) -> list[list[str]]:
    """Return the clicked items of each session, in the order in which the sessions began."""
    sessions: dict[str, list[str]] = {}
    for interaction in log:
        if interaction.kind is not Kind.PURCHASE:
            sessions.setdefault(interaction.session_id, []).append(interaction.item_id)
    return list(sessions.values())


def bought(log: Iterable[Interaction], index_of: dict[str, int]) -> Orders:
    """Return the orders of the sessions of `clicked`, but for those before any click."""
    session: dict[str, int] = {}
    length: Counter[str] = Counter()
    orders = []
    for interaction in log:
        if interaction.kind is not Kind.PURCHASE:
            session.setdefault(interaction.session_id, len(session))
            length[interaction.session_id] += 1
        elif interaction.session_id in session and interaction.item_id in index_of:
            orders.append(
                (session[interaction.session_id], length[interaction.session_id], index_of[interaction.item_id])
            )
    return Orders.of(orders)


def _numbered(sessions: Sequence[Sequence[str]], ids: Sequence[str]) -> Sessions:
    index_of = {item: n for n, item in enumerate(ids) if n}
    return Sessions.of([[index_of.get(item, 0) for item in session] for session in sessions])


def _numbers(values: Iterable[str | None]) -> NDArray[np.int64]:
    known: dict[str, int] = {}
    return np.array([0, *(known.setdefault(v, len(known) + 1) if v else 0 for v in values)], dtype=np.int64)
