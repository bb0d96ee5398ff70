"""`python tests/support/train_models.py OUT NAME …`: models trained on a little traffic of the simulated shop.

In the training environment, and in one process: what the models have in common is trained once.
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from export.builds import Options, build
from export.splits import of_log
from export.write import write_artifact
from features.interaction import Interaction
from features.sources.simulator import shop

INTERACTIONS = 1_000
TRAINING_SEED, TEST_SEED = 1, 2


def traffic(seed: int) -> list[Interaction]:
    return list(islice(shop.interactions(seed, 0, 100), INTERACTIONS))


def main(out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    split = of_log("shop", shop.items(), traffic(TRAINING_SEED), traffic(TEST_SEED))
    popularity = np.zeros(len(split.ids), dtype=np.float32)
    for name in names:
        built = build(name, split, Options(out / "runs", torch.device("cpu"), seed=0))
        write_artifact(out / name, name, split, built, popularity)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
