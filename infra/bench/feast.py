"""`rheostat bench feast`: our online stores beside Feast's own, on one SQLite disk and one Cassandra node.

What is written is the same on both sides, rows of the views shopper_session and shopper_profile. Rounds alternate, and
medians are compared: what else the machine does falls on both.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

import features.stores  # noqa: F401  # before Feast, whose import it shortens

# isort: split
from feast import FeatureStore
from feast.data_source import PushMode
from rich.console import Console
from rich.table import Table

from features import shopper
from features.extraction import extract_row
from features.interaction import Kind
from features.sources.simulator import shop
from features.spec import FEATURES, SPEC_VERSION, View
from features.stores.applied import feast_repo
from infra.local.cassandra import local_cassandra
from infra.local.kafka import ROOT
from infra.local.steps import Steps
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import EstimateTable
from streaming.io.columns import feature_columns
from streaming.io.feed import to_item, to_message
from streaming.io.online_store import OnlineStore
from streaming.records import now_ms
from streaming.schemas import Fallback, FeatureRecord, Origin, Topic
from streaming.scoring.advance import interaction
from streaming.scoring.candidates import Candidates
from streaming.scoring.considered import pack

ROUNDS = 5
BATCH_ROWS = 500
FEAST_ROWS = 200  # of a round of Feast's own stores, which would take minutes otherwise
READS = 500
MODEL = ROOT / "onnx_models" / "artifacts" / "generator"
VIEWS = (View.SESSION, View.PROFILE)


def measure(home: Path, rows: int, console: Console) -> dict[str, Any]:
    """Return rows (of a view) written a second and read latencies, by store, ours and Feast's own."""
    home = home.resolve()
    records = _records(rows * ROUNDS)
    figures: dict[str, Any] = {}
    with local_cassandra(home / "cassandra") as node, Steps(console) as steps:
        own_cassandra = {**node.online_store, "type": "cassandra"}
        own_sqlite = {"type": "sqlite", "path": "data/online_store.db"}
        for name, ours, own in (("sqlite", None, own_sqlite), ("cassandra", node.online_store, own_cassandra)):
            our_repo, own_repo = feast_repo(home / f"{name}-ours", ours), feast_repo(home / f"{name}-feast", own)
            _of_project(own_repo, "own")
            with steps.step(f"{name} is measured") as progress:
                figures[name] = _compare(our_repo, own_repo, records, rows, progress)
    _show(figures, console)
    return figures


def _records(count: int) -> list[FeatureRecord]:
    """Return rows of `count` shoppers of the simulated shop, each after some twenty interactions."""
    catalogue = Catalogue(read_items(MODEL, read_manifest(MODEL)))
    for offset, item in enumerate(shop.items()):
        catalogue.put(item.item_id, to_item(item), offset)
    records, now = [], now_ms()
    log = shop.interactions(5, now - 400_000, 20, shop.Parameters(shopper_count=300))
    states = {f"shopper-{n}": shopper.new() for n in range(300)}
    for event in itertools.islice(log, 6_000):
        states[event.shopper_id] = shopper.update(states[event.shopper_id], interaction(to_message(event), catalogue))
    candidates = Candidates(np.arange(1, 111), np.linspace(2.0, -4.0, 110), None, Fallback.NONE, b"")
    considered = pack(candidates, EstimateTable(catalogue).of(candidates.item_index), catalogue)
    shopper_views = [shopper.view(state) for state in states.values() if state.sequence]
    for n in range(count):
        shopper_view = shopper_views[n % len(shopper_views)]
        records.append(
            FeatureRecord(
                rec_id=f"rec-{n}",
                event_id=f"e-{n}",
                origin=Origin(Topic.CLICKS, 0, n),
                item_id="i000",
                kind=Kind.VIEW,
                interaction_time_ms=now,
                value=None,
                sequence=1,
                created_time_us=now * 1000 + n,
                items_offset=0,
                profile="profiles[0]@0",
                spec_version=SPEC_VERSION,
                row=extract_row(f"bench-{n}", shopper_view, catalogue),
                profile_state=msgspec.msgpack.encode(shopper_view.profile),
                session_vector=np.zeros(48, dtype="<f4").tobytes(),
                considered=considered,
                model_version="bench",
            )
        )
    return records


def _of_project(repo: Path, project: str) -> None:
    """Give Feast's own store tables of its own on the same server."""
    config = repo / "feature_store.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("project: rheostat", f"project: {project}"))
    subprocess.run(
        [str(Path(sys.executable).parent / "feast"), "-c", str(repo), "apply"], check=True, capture_output=True
    )


def _compare(
    ours: Path, own: Path, records: Sequence[FeatureRecord], rows: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    writer, our_reader, feast = OnlineStore(ours, 60.0), FeatureStore(str(ours)), FeatureStore(str(own))
    speeds: dict[str, list[float]] = {"ours": [], "push": [], "write_to_online_store": []}
    for n in range(ROUNDS):
        mine = records[n * rows : (n + 1) * rows]
        began = time.perf_counter()
        for begin in range(0, len(mine), BATCH_ROWS):
            writer.write(mine[begin : begin + BATCH_ROWS])
        speeds["ours"].append(len(VIEWS) * len(mine) / (time.perf_counter() - began))
        progress(f"ours, round {n + 1} of {ROUNDS}")
        frames = {view: _frame(view, mine[:FEAST_ROWS]) for view in VIEWS}
        for name in ("push", "write_to_online_store"):
            began = time.perf_counter()
            for view, frame in frames.items():
                if name == "push":
                    feast.push(f"{view}_push", frame, to=PushMode.ONLINE)
                else:
                    feast.write_to_online_store(view.value, frame)
            speeds[name].append(len(VIEWS) * len(mine[:FEAST_ROWS]) / (time.perf_counter() - began))
            progress(f"{name}, round {n + 1} of {ROUNDS}")
    result: dict[str, Any] = {f"{name}_rows_per_s": round(float(np.median(speed))) for name, speed in speeds.items()}
    result["rows_per_s_spread"] = {name: [round(min(speed)), round(max(speed))] for name, speed in speeds.items()}
    fastest = max(np.median(speeds["push"]), np.median(speeds["write_to_online_store"]))
    result["times_feast"] = round(float(np.median(speeds["ours"]) / fastest), 1)
    shopper_ids = [record.row.shopper_id for record in records[:FEAST_ROWS]]
    names = [f"{View.SESSION}:{feature.name}" for feature in FEATURES[View.SESSION]]
    for side, store in (("ours", our_reader), ("feast", feast)):
        ms = []
        for n in range(READS):
            began = time.perf_counter()
            store.get_online_features(names, [{"shopper_id": shopper_ids[n % len(shopper_ids)]}])
            ms.append((time.perf_counter() - began) * 1000)
        p50, p99 = np.percentile(ms, [50, 99]).tolist()
        result[f"{side}_read_p50_ms"], result[f"{side}_read_p99_ms"] = round(p50, 2), round(p99, 2)
        progress(f"{side}, read")
    writer.close()
    our_reader._get_provider().online_store.disconnect()  # type: ignore[attr-defined]
    if cluster := getattr(feast._get_provider().online_store, "_cluster", None):
        cluster.shutdown()
    return result


def _frame(view: View, records: Sequence[FeatureRecord]) -> pd.DataFrame:
    rows = []
    for record in records:
        columns = feature_columns(record)
        values = {feature.name: columns[feature.name] for feature in FEATURES[view]}
        rows.append({name: list(value) if isinstance(value, tuple) else value for name, value in values.items()})
    frame = pd.DataFrame(rows)
    frame["shopper_id"] = [record.row.shopper_id for record in records]
    times = [datetime.fromtimestamp(record.row.event_time_ms / 1000, UTC) for record in records]
    return frame.assign(event_timestamp=times, created_timestamp=times)


def _show(figures: dict[str, Any], console: Console) -> None:
    table = Table(title="rows of a view written a second (median of rounds), reads of one shopper's session")
    for column in ("store", "ours", "push", "write_to_online_store", "times Feast", "our read p50 / p99", "Feast's"):
        table.add_column(column, justify="right")
    for name, of_store in figures.items():
        table.add_row(
            name,
            *(f"{of_store[f'{way}_rows_per_s']:,}" for way in ("ours", "push", "write_to_online_store")),
            f"{of_store['times_feast']:g}",
            *(f"{of_store[f'{s}_read_p50_ms']} / {of_store[f'{s}_read_p99_ms']} ms" for s in ("ours", "feast")),
        )
    console.print(table)
