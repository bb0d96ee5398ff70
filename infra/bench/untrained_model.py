"""`python -m infra.bench.untrained_model OUT ITEMS [--scan int8]`: an artifact of any size that nobody has trained.

It ranks nothing, and costs what a trained one of that size costs: its networks and its table are as they begin. In the
training environment.
"""

import argparse
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch.nn import functional

from export.builds import Built, Shape
from export.models import ENCODERS, MODELS, sized
from export.scan import NEAREST_PER_CANDIDATE, Scan, searched
from export.sessions import Sessions, Split
from export.write import write_artifact
from features.sources.simulator import shop
from features.spec import NEIGHBOUR_COUNT
from onnx_models.artifact import Items, read_manifest, write
from onnx_models.session_ranker import ServedRanker

SESSION_COUNT = 600
_SMALL_SHOP = 2_000  # whose model is taken, of vectors of 48


def main(out: Path, count: int, scan: Scan) -> None:
    """Write the artifact into `out`, with random neighbours and a popularity as Zipf has it."""
    torch.manual_seed(0)
    rng, config = np.random.default_rng(0), sized(MODELS["graph"], _SMALL_SHOP)
    D, T, K = config.ranker.hidden_dim, config.ranker.max_length, config.candidate_count
    table = functional.normalize(torch.randn(count + 1, D), dim=1)
    table[0] = 0.0
    ranker = ServedRanker([ENCODERS[config.encoder](config.ranker)], table, torch.randn(count + 1), K)
    of_shop = [item.item_id for item in shop.items()][:count]  # so that benches of the stream ask it something
    ids = ["", *of_shop, *[f"item-{n:07d}" for n in range(len(of_shop) + 1, count + 1)]]
    sessions = Sessions.of([rng.integers(1, count + 1, n % T + 1).tolist() for n in range(SESSION_COUNT)])
    name = f"untrained-{scan}-{count}"
    built = searched(Built(ranker, Shape(D, T, K), {}), scan, sessions)
    popularity = (1.0 / np.arange(1, count + 2)).astype(np.float32)
    write_artifact(out, name, Split("nothing", ids, sessions, sessions), built, popularity)
    neighbours = rng.integers(1, count + 1, (count + 1, NEIGHBOUR_COUNT), dtype=np.int32)
    similarity = np.sort(rng.random((count + 1, NEIGHBOUR_COUNT), dtype=np.float32))[:, ::-1]
    manifest = msgspec.structs.replace(read_manifest(out), model_version=name)
    write(out, manifest, Items(ids, popularity, neighbours, np.ascontiguousarray(similarity)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An artifact of many items that nobody has trained.")
    parser.add_argument("out", type=Path, help="folder of the artifact")
    parser.add_argument("items", type=int)
    parser.add_argument("--scan", choices=["exact", *NEAREST_PER_CANDIDATE], default="exact", help="as `export --scan`")
    options = parser.parse_args()
    main(options.out, options.items, options.scan)
