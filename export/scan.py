"""Chooses how a session ranker searches its items, and holds that to what the exact logits say."""

from dataclasses import replace
from typing import Literal

import torch

from export.builds import Built
from export.sessions import Sessions
from features.errors import ParityError, TrainingError
from onnx_models.scan import GpuScan, Int8Scan
from onnx_models.session_ranker import SearchedRanker, ServedRanker

Scan = Literal["exact", "int8", "gpu", "gpu-fp16"]
LEAST_RECALL = 0.99  # of the exact candidates
# What is found and scored again, in candidates; the session's own items come on top, as they are left out of it.
NEAREST_PER_CANDIDATE: dict[Scan, int] = {"int8": 4, "gpu": 1, "gpu-fp16": 2}
_SESSION_COUNT, _BATCH = 512, 32


def searched(built: Built, scan: Scan, sessions: Sessions) -> Built:
    """Return what was built with its items searched so; the report says the recall on the newest of `sessions`.

    Raises:
        TrainingError: the model is none that ranks by a product with a table.
        ParityError: too few of the exact candidates are found.
    """
    ranker = built.served
    if scan == "exact":
        return built
    if not isinstance(ranker, ServedRanker):
        msg = f"{type(ranker).__name__} weighs all its items, only a session ranker searches them; use `--scan exact`"
        raise TrainingError(msg)
    searching = with_scan(ranker, scan, built.shape.max_length)
    recall = recall_of_exact(ranker, searching, sessions, built.shape.max_length)
    if recall < LEAST_RECALL:
        msg = (
            f"a scan of {scan} finds {recall:.4f} of the exact candidates, expected {LEAST_RECALL} at least; keep more "
            "of what it finds (NEAREST_PER_CANDIDATE), or use `--scan exact`"
        )
        raise ParityError(msg)
    return replace(built, served=searching, report=built.report | {"scan": scan, "recall_of_exact": recall})


def with_scan(ranker: ServedRanker, scan: Scan, max_length: int) -> SearchedRanker:
    """Return the ranker with a scan of its items."""
    table, bias, candidate_count = ranker.get_buffer("table"), ranker.get_buffer("bias"), ranker.candidate_count
    count = min(len(table) - 1, NEAREST_PER_CANDIDATE[scan] * candidate_count + max_length)
    if scan == "int8":
        return SearchedRanker(ranker, Int8Scan(count, table, bias))
    if scan == "gpu-fp16":
        ranker = ServedRanker([*ranker.rankers], table.half(), bias, candidate_count)
    return SearchedRanker(ranker, GpuScan(count))


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def recall_of_exact(exact: ServedRanker, searching: SearchedRanker, sessions: Sessions, max_length: int) -> float:
    """Return the mean share of the exact model's candidates that are among those of the searching one."""
    exact.eval()
    searching.eval()
    rows = [session[-max_length:] for session in list(sessions)[-_SESSION_COUNT:]]
    item_seq = torch.zeros(len(rows), max_length, dtype=torch.int64)
    for row, session in enumerate(rows):
        item_seq[row, : len(session)] = torch.as_tensor(session)
    seq_len, table = torch.tensor([*map(len, rows)]), exact.get_buffer("table")
    no_new, everything = torch.zeros(1, table.shape[1]), torch.ones(len(table), dtype=torch.bool)
    shares = []
    for part in range(0, len(rows), _BATCH):
        of_part = item_seq[part : part + _BATCH]
        batch = of_part, seq_len[part : part + _BATCH], no_new, everything, of_part[:, :1]
        expected, actual = exact(*batch)[0], searching(*batch)[0]
        shares.append((expected[:, :, None] == actual[:, None, :]).any(dim=2).float().mean(dim=1))
    return float(torch.cat(shares).mean())
