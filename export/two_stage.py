"""Puts a first look in 8 bits before a model's exact scores, and holds it to what the exact model finds."""

from dataclasses import replace

import torch

from export.builds import Built
from export.sessions import Sessions
from features.errors import ParityError, TrainingError
from onnx_models.session_ranker import ServedRanker, TwoStageRanker

LEAST_RECALL = 0.99  # of the exact candidates
_SESSION_COUNT, _BATCH = 512, 32


def in_two_stages(built: Built, sessions: Sessions) -> Built:
    """Return what was built as a TwoStageRanker; the report says the recall on the newest of `sessions`.

    Raises:
        TrainingError: the model is none that ranks by a product with a table.
        ParityError: too few of the exact candidates are found.
    """
    ranker = built.served
    if not isinstance(ranker, ServedRanker):
        msg = f"{type(ranker).__name__} has no first stage of int8, only a session ranker has; use `--scan exact`"
        raise TrainingError(msg)
    two_stage = TwoStageRanker(ranker)
    recall = recall_of_exact(two_stage, sessions, built.shape.max_length, built.shape.hidden_dim)
    if recall < LEAST_RECALL:
        msg = (
            f"the first stage finds {recall:.4f} of the exact candidates, expected {LEAST_RECALL} at least; keep more "
            "after it (`nearest_per_candidate`), or export it with `--scan exact`"
        )
        raise ParityError(msg)
    return replace(built, served=two_stage, report=built.report | {"first_stage_recall": recall})


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def recall_of_exact(two_stage: TwoStageRanker, sessions: Sessions, max_length: int, hidden_dim: int) -> float:
    """Return the mean share of the exact model's candidates that are among the two-stage one's."""
    two_stage.eval()
    rows = [session[-max_length:] for session in list(sessions)[-_SESSION_COUNT:]]
    item_seq = torch.zeros(len(rows), max_length, dtype=torch.int64)
    for row, session in enumerate(rows):
        item_seq[row, : len(session)] = torch.as_tensor(session)
    seq_len, no_new = torch.tensor([*map(len, rows)]), torch.zeros(1, hidden_dim)
    everything = torch.ones(len(two_stage.ranker.get_buffer("table")), dtype=torch.bool)
    shares = []
    for part in range(0, len(rows), _BATCH):
        batch = item_seq[part : part + _BATCH], seq_len[part : part + _BATCH], no_new, everything
        exact, near = two_stage.ranker(*batch)[0], two_stage(*batch)[0]
        shares.append((exact[:, :, None] == near[:, None, :]).any(dim=2).float().mean(dim=1))
    return float(torch.cat(shares).mean())
