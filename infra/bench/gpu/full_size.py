"""`python -m infra.bench.gpu.full_size SPLIT OUT`: models of a public split's size that nobody has trained.

They rank nothing, and cost what trained ones cost: the item table, the sessions and the rules are those of the split,
the networks are as they begin. In the training environment.
"""

import argparse
from pathlib import Path

import torch

from export.baselines import rule_counts
from export.builds import Built, Shape
from export.models import MODELS, joined, new_model
from export.reranking import Models
from export.session_index import session_index
from export.splits import srgnn
from export.write import write_artifact
from onnx_models.fusion import FEATURES, FusionConfig, Reranker, weights_of
from onnx_models.session_neighbours import SessionNeighbours, SessionNeighboursConfig
from onnx_models.session_rules import SessionRules, SessionRulesConfig


def main(folder: Path, out: Path) -> None:
    split = srgnn(folder)
    popularity = torch.zeros(split.item_count + 1).numpy()
    rankers = {}
    for name in ("graph", "gnn"):
        config = MODELS[name]
        model = new_model(config, split.train, split.item_count, split.content, seed=0)
        rankers[name] = joined([model], config.candidate_count)
        shape = Shape(config.ranker.hidden_dim, config.ranker.max_length, config.candidate_count)
        write_artifact(out / name, name, split, Built(rankers[name], shape, {}), popularity)
    index = session_index(split.train, split.item_count, SessionNeighboursConfig())
    neighbours = SessionNeighbours(SessionNeighboursConfig(), *index)
    rules = SessionRules(SessionRulesConfig(), *rule_counts(split.train, split.item_count, SessionRulesConfig()))
    models = Models(rankers["gnn"], neighbours, rules, split.train, split.orders)
    zeros, ones = torch.zeros(len(FEATURES)), torch.ones(len(FEATURES))
    fused = models.fusion(FusionConfig(), Reranker(FusionConfig().unit_count, weights_of(FusionConfig()), zeros, ones))
    write_artifact(out / "fusion", "fusion", split, Built(fused, shape, {}), popularity)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Models of a public split's size that nobody has trained.")
    parser.add_argument("split", type=Path, help="folder with train_sessions.parquet and test_sessions.parquet")
    parser.add_argument("out", type=Path, help="folder of the artifacts graph, gnn and fusion")
    options = parser.parse_args()
    main(options.split, options.out)
