"""`python -m infra.bench.gpu.cuda [--models FOLDER] [--device cpu]`: what a GPU gives, line by line as it is known.

Needs numpy, numba, onnx, msgspec, sortedcontainers, confluent-kafka and onnxruntime: no Flink, no broker, no torch.
`--models` holds the artifacts that `full_size.py` makes. With `--device cpu` it tries itself where there is no GPU.

Axes: B batch, T session length, V items, D vector, K candidates.
"""

import argparse
import functools
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from features.errors import DeviceError
from features.sources.simulator import shop
from onnx_models.artifact import GRAPH, read_manifest
from onnx_models.device import CPU
from onnx_models.runner import BATCH_SIZES, BucketRunner, Fixed, GroupRunner, HostRunner, Sessions
from onnx_models.session import (
    ASKED_ITEMS,
    AVAILABLE,
    ITEM_SEQ,
    NEW_ITEMS,
    SEQ_LEN,
    feed_of,
    open_session,
    place,
    providers,
)
from streaming.io.feed import to_message
from streaming.records import Record, encode
from streaming.schemas import Click, Origin, Topic
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Recommender, new_states
from streaming.testing import control_state

GENERATOR = Path("onnx_models/artifacts/generator")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TABLE_BATCHES = (1, 8, 64)
CHUNKS = (1, 50, 500)  # parts of a table whose best are taken first
D, K = 128, 200
BUNDLES = (1, 4, 16, 64)  # records that are answered at once
START_MS = 1_700_000_000_000
SLOTS = (1, 4, 16)
Feed = dict[str, NDArray[Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=Path, help="folder of graph, gnn and fusion of full size")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    parser.add_argument("--records", type=int, default=6_000, help="for the whole way to slates")
    parser.add_argument("--items", type=int, nargs="*", default=[1_000_000, 10_000_000], help="of random tables")
    options = parser.parse_args()
    say("machine", **machine())
    try:
        parity(options.device)
    except DeviceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for folder in [GENERATOR, *(sorted(options.models.iterdir()) if options.models else [])]:
        by_batch(folder, options.device, options.seconds)
        in_the_job(folder, options.device, options.seconds)
    answers(options.device, options.records)
    for items in options.items:
        rows = np.random.default_rng(0).standard_normal((items, D), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for dtype in ("float32", "float16"):
            table(rows.astype(dtype), options.device, options.seconds)
    return 0


def say(what: str, **figures: object) -> None:
    sys.stdout.write(json.dumps({"what": what} | figures) + "\n")
    sys.stdout.flush()


def machine() -> dict[str, object]:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        card = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        card = "none"
    return {
        "card": card,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "python": sys.version.split()[0],
    }


def sessions(B: int, T: int, item_count: int, hidden_dim: int, new_count: int = 0, seed: int = 0) -> Feed:
    """Return a batch of random sessions of 1 to T items, padded to T as the job pads them."""
    rng = np.random.default_rng(seed)
    seq_len = rng.integers(1, T + 1, B)
    seq_len[0] = T
    item_seq = rng.integers(1, item_count + 1, (B, T)) * (np.arange(T)[None, :] < seq_len[:, None])
    new_items = rng.normal(size=(new_count + 1, hidden_dim)).astype(np.float32)
    new_items /= np.maximum(np.linalg.norm(new_items, axis=1, keepdims=True), 1e-9)
    new_items[0] = 0.0
    available = np.ones(item_count + 1, dtype=bool)
    return {
        ITEM_SEQ: item_seq,
        SEQ_LEN: seq_len,
        NEW_ITEMS: new_items,
        AVAILABLE: available,
        ASKED_ITEMS: item_seq[:, :1],
    }


def parity(device: str) -> None:
    """Compare the committed artifact on both devices."""
    manifest = read_manifest(GENERATOR)
    here, there = (open_session(GENERATOR / GRAPH, where) for where in (CPU, device))
    for B, T, new in itertools.product((1, 2, 7, 64, 1024), (1, manifest.max_length), (0, 3)):
        feed = sessions(B, T, manifest.item_count, manifest.hidden_dim, new)
        items, logits, vector, *_ = here.run(None, feed_of(here, feed))
        its_items, its_logits, its_vector, *_ = there.run(None, feed_of(here, feed))
        say(
            "parity",
            batch=B,
            length=T,
            new_items=new,
            same_items=round(float((items == its_items).mean()), 5),
            logits=float(np.abs(logits - its_logits).max()),
            vector=float(np.abs(vector - its_vector).max()),
        )


def by_batch(folder: Path, device: str, seconds: float) -> None:
    """Time a model by batch: inputs from and outputs to numpy, as the job has them; the same on this machine's CPU."""
    manifest = read_manifest(folder)
    T = 10
    began = time.perf_counter()
    session = open_session(folder / GRAPH, device)
    say("load", model=folder.name, items=manifest.item_count, seconds=round(time.perf_counter() - began, 2))
    say("placement", model=folder.name, **placement(folder, device))
    say("placement", model=folder.name, bucket=[8, T], **placement(folder, device, (8, T)))
    for B in BATCHES:
        feeds = [sessions(B, T, manifest.item_count, manifest.hidden_dim, seed=seed) for seed in range(8)]
        say("batch", model=folder.name, device=device, batch=B, **timed(session, feeds, B, seconds))
    host = open_session(folder / GRAPH)
    for B in (1, 8, 64):
        feeds = [sessions(B, T, manifest.item_count, manifest.hidden_dim, seed=seed) for seed in range(8)]
        say("batch", model=folder.name, device="host, one thread", batch=B, **timed(host, feeds, B, seconds))
    feed = sessions(64, T, manifest.item_count, manifest.hidden_dim)
    (items, logits, *_), (its_items, its_logits, *_) = [of.run(None, feed_of(of, feed)) for of in (host, session)]
    same, difference = float((items == its_items).mean()), float(np.abs(logits - its_logits).max())
    say("parity", model=folder.name, batch=64, same_items=round(same, 5), logits=difference)


def _asked(feed: Feed) -> Sessions:
    return Sessions(feed[ITEM_SEQ], feed[SEQ_LEN], feed[AVAILABLE], feed[ASKED_ITEMS])


def in_the_job(folder: Path, device: str, seconds: float) -> None:
    """Time a model as the job runs it: at fixed batch sizes, and for what many threads ask at once."""
    manifest = read_manifest(folder)
    T, new_items = manifest.max_length, np.zeros((1, manifest.hidden_dim), dtype=np.float32)
    host = HostRunner(folder / GRAPH, new_items)
    began = time.perf_counter()
    buckets = BucketRunner(folder / GRAPH, device, Fixed(T, manifest.item_count, new_items), host)
    say("load", model=folder.name, device=device, batches=BATCH_SIZES, seconds=round(time.perf_counter() - began, 2))
    group = GroupRunner(buckets)
    for B in (*BATCH_SIZES, 256):
        feed = sessions(B, T, manifest.item_count, manifest.hidden_dim)
        asked = _asked(feed)
        (outputs, _), (expected, _) = group.run(asked), host.run(asked)
        worst = max(float(np.abs(of - expected[n]).max()) for n, of in outputs.items() if of.dtype == np.float32)
        named = {"model": folder.name, "device": device, "captured": buckets.captured, "batch": B}
        say("in the job", **named, **repeated(functools.partial(group.run, asked), B, seconds), difference=worst)
    for slots in SLOTS:
        feed = sessions(4, T, manifest.item_count, manifest.hidden_dim)
        asked = _asked(feed)
        for name, runner in (("group", group), ("host", host)):
            per_second, p90_ms = together(slots, functools.partial(runner.run, asked), seconds)
            say("slots", model=folder.name, runner=name, slots=slots, calls_of=4, calls_per_s=per_second, p90_ms=p90_ms)


def together(slots: int, call: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Return how many calls a second as many threads make, and their p90 in ms."""

    def repeat(_: int) -> list[float]:
        times: list[float] = []
        until = time.perf_counter() + seconds
        while not times or time.perf_counter() < until:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return times

    with ThreadPoolExecutor(slots) as pool:
        began = time.perf_counter()
        times = list(itertools.chain.from_iterable(pool.map(repeat, range(slots))))
        took_s = time.perf_counter() - began
    return round(len(times) / took_s), round(1e3 * float(np.percentile(times, 90)), 3)


def timed(session: onnxruntime.InferenceSession, feeds: list[Feed], B: int, seconds: float) -> dict[str, float]:
    turns = itertools.cycle(feeds)
    return repeated(lambda: session.run(None, feed_of(session, next(turns))), B, seconds)


def repeated(call: Callable[[], object], B: int, seconds: float) -> dict[str, float]:
    for _ in range(12):
        call()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 10:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    return {"p50_ms": round(1e3 * p50, 3), "p99_ms": round(1e3 * p99, 3), "sessions_per_s": round(B / p50)}


def placement(folder: Path, device: str, bucket: tuple[int, int] | None = None) -> dict[str, object]:
    """Return how many kernels of a run each provider executes, and which the CPU does: those hold a GPU up."""
    options = bucket_options(bucket)
    options.enable_profiling = True
    with TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=providers(device))
        manifest = read_manifest(folder)
        feed = sessions(*(bucket or (8, 10)), manifest.item_count, manifest.hidden_dim)
        session.run(None, feed_of(session, feed))
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event["args"] for event in events if event.get("cat") == "Node" and "provider" in event.get("args", {})]
    by_provider = Counter(node["provider"].removesuffix("ExecutionProvider") for node in nodes)
    on_host = Counter(node["op_name"] for node in nodes if node["provider"].startswith("CPU"))
    copies = sum(node["op_name"].startswith("Memcpy") for node in nodes)
    return {"kernels": dict(by_provider), "copies": copies} | ({"on_host": dict(on_host)} if device != CPU else {})


def bucket_options(bucket: tuple[int, int] | None) -> onnxruntime.SessionOptions:
    """Return options that fix batch and length, without new items: what depends on shapes alone is computed at load."""
    options = onnxruntime.SessionOptions()
    for name, size in zip(("B", "T", "M"), (*bucket, 1), strict=True) if bucket else ():
        options.add_free_dimension_override_by_name(name, size)
    return options


def answers(device: str, count: int) -> None:
    """Time the whole way from records to their slates, by bundle, with the committed artifact on either device."""
    for where in dict.fromkeys((CPU, device)):
        model = SessionModel(GENERATOR, where)
        recommender = Recommender(model, control_state(model, shop.items()), "home")
        for size in BUNDLES:
            states: dict[str, bytes] = {}
            times: list[float] = []
            log = list(records(count))
            for n in range(0, count, size):
                bundle = log[n : n + size]
                began = time.perf_counter()
                responses = recommender.answer_many(bundle, states)
                times.append(time.perf_counter() - began)
                states |= new_states(bundle, responses)
            warm = times[len(times) // 6 :]
            p50, p99 = np.percentile(warm, [50, 99]).tolist()
            slates_per_s = round(size * len(warm) / sum(warm))
            shown = {"p50_ms": round(1e3 * p50, 3), "p99_ms": round(1e3 * p99, 3), "slates_per_s": slates_per_s}
            say("answer_many", device=where, bundle=size, **shown)


def records(count: int) -> Iterator[Record]:
    for n, did in enumerate(itertools.islice(shop.interactions(11, START_MS, 1_000.0), count)):
        message = to_message(did)
        topic = Topic.CLICKS if isinstance(message, Click) else Topic.PURCHASES
        yield Record(did.shopper_id, encode(message), Origin(topic, 0, n))


def table(rows: NDArray[Any], device: str, seconds: float) -> None:
    """Time the best K of a table (V, D) that stays on the device, for several ways of taking the best."""
    V, dtype = len(rows), rows.dtype.name
    resident = onnxruntime.OrtValue.ortvalue_from_numpy(rows, *place(device))
    for B, chunks in itertools.product(TABLE_BATCHES, [chunks for chunks in CHUNKS if V // chunks >= K]):
        graph = retrieval(V, B, dtype, chunks)
        for graphs in (False, True) if device != CPU else (False,):
            try:
                figures, items = retrieved(graph, resident, B, dtype, device, graphs, seconds)
            except Exception as error:  # onnxruntime's errors have no base of their own
                say("table", items=V, dtype=dtype, batch=B, chunks=chunks, cuda_graph=graphs, error=str(error)[:300])
                continue
            right = recall(rows, items, dtype) if V <= 1_000_000 else None
            say("table", items=V, dtype=dtype, batch=B, chunks=chunks, cuda_graph=graphs, **figures, recall=right)


def retrieval(V: int, B: int, dtype: str, chunks: int) -> bytes:
    """Return a graph of fixed shape: queries (B, D) and a table (V, D) in, the best K out.

    The best of each of `chunks` parts of the table first, then the best of those: a row's TopK is one thread block's
    work in onnxruntime, however long the row.
    """
    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.FLOAT16
    inputs = [
        helper.make_tensor_value_info("queries", kind, [B, D]),
        helper.make_tensor_value_info("table", kind, [V, D]),
    ]
    ints = {"k": [K]} | ({"parts": [B * chunks, V // chunks], "joined": [B, chunks * K]} if chunks > 1 else {})
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(size)], size) for name, size in ints.items()]
    nodes = [helper.make_node("Gemm", ["queries", "table"], ["scores"], transB=1)]
    if chunks == 1:
        nodes.append(helper.make_node("TopK", ["scores", "k"], ["logits", "items"]))
    else:
        starts = np.tile(np.repeat(np.arange(chunks, dtype=np.int64) * (V // chunks), K), (B, 1))
        constants.append(helper.make_tensor("starts", TensorProto.INT64, starts.shape, starts.ravel()))
        nodes += [
            helper.make_node("Reshape", ["scores", "parts"], ["scores_of_parts"]),
            helper.make_node("TopK", ["scores_of_parts", "k"], ["best", "place"]),
            helper.make_node("Reshape", ["best", "joined"], ["joined_best"]),
            helper.make_node("Reshape", ["place", "joined"], ["joined_place"]),
            helper.make_node("Add", ["joined_place", "starts"], ["numbers"]),
            helper.make_node("TopK", ["joined_best", "k"], ["logits", "of_best"]),
            helper.make_node("GatherElements", ["numbers", "of_best"], ["items"], axis=1),
        ]
    outputs = [
        helper.make_tensor_value_info("items", TensorProto.INT64, [B, K]),
        helper.make_tensor_value_info("logits", kind, [B, K]),
    ]
    graph = helper.make_graph(nodes, "retrieval", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def queries(B: int, dtype: str) -> NDArray[Any]:
    rows = np.random.default_rng(1).standard_normal((B, D))
    normalised: NDArray[Any] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)
    return normalised


def retrieved(
    graph: bytes, resident: Any, B: int, dtype: str, device: str, cuda_graph: bool, seconds: float
) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Time a retrieval with the table resident: a query copied in, the best copied out."""
    session = onnxruntime.InferenceSession(graph, providers=providers(device, cuda_graph))
    batch = queries(B, dtype)
    query = onnxruntime.OrtValue.ortvalue_from_numpy(batch, *place(device))
    items = onnxruntime.OrtValue.ortvalue_from_shape_and_type([B, K], np.int64, *place(device))
    logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type([B, K], np.dtype(dtype).type, *place(device))
    binding = session.io_binding()
    binding.bind_ortvalue_input("queries", query)
    binding.bind_ortvalue_input("table", resident)
    binding.bind_ortvalue_output("items", items)
    binding.bind_ortvalue_output("logits", logits)

    def call() -> None:
        query.update_inplace(batch)
        session.run_with_iobinding(binding)
        items.numpy()
        logits.numpy()

    return repeated(call, B, seconds), items.numpy()


def recall(rows: NDArray[Any], items: NDArray[np.int64], dtype: str) -> float:
    """Return the share of the exact best K (float32 sums of the same rounded rows) that was retrieved."""
    hits = 0
    batch = queries(len(items), dtype)
    for query, its in list(zip(batch, items, strict=True))[:4]:
        scores = rows.astype(np.float32) @ query.astype(np.float32)
        hits += len(np.intersect1d(np.argpartition(-scores, K)[:K], its))
    return round(hits / (K * min(len(items), 4)), 4)


if __name__ == "__main__":
    sys.exit(main())
