"""What the log says of a draft before it is published."""

import threading
from pathlib import Path
from typing import NamedTuple

import msgspec

from onnx_models.artifact import read_items, read_manifest
from streaming.offline import evaluation
from streaming.offline.logged_slates import LoggedSlates
from streaming.policy.table import PolicyTable
from streaming.schemas import Measure, Policy

FOR_EVER_MS = 1 << 62
CONFIDENCE = 0.95


class Judgement(NamedTuple):
    verdict: str  # which estimator says what, and whether the log is enough
    refusal: str | None  # why it should not be in force; None: nothing speaks against it, or the log says too little


class Gate:
    """Asks the log that `rheostat log sink` fills.

    Args:
        log: its folder.
        model: folder of the artifact whose slates are looked at.
        reward: what must not become worse.
        margin: by which it may, as a share of what is in force, in [0, 1].
        least: effective slates that it takes to say anything.
        refuses: whether a draft that may be worse can be published all the same.
    """

    def __init__(self, log: Path, model: Path, reward: Measure, margin: float, least: float, *, refuses: bool) -> None:
        self.refuses = refuses
        self._log, self._model, self._reward, self._margin, self._least = log, model, reward, margin, least
        self._newest: tuple[bytes, int, Judgement] | None = None
        self._lock = threading.Lock()  # one at a time: each reads the whole log

    def judged(self, policy: Policy, in_force: PolicyTable) -> Judgement:
        """Return what the log says of the policy beside those in force; the newest answer is kept.

        Raises:
            LoggedSlatesError: the log has none of the model's slates that were shown.
        """
        unstamped = msgspec.structs.replace(policy, version=1, author="-", time_ms=None, note="")
        asked = msgspec.json.encode(unstamped)
        with self._lock:
            if self._newest is None or self._newest[:2] != (asked, in_force.version):
                manifest = read_manifest(self._model)
                items = read_items(self._model, manifest)
                slates = LoggedSlates(self._log, items, manifest.model_version, 0, FOR_EVER_MS)
                report = evaluation.evaluate(slates, in_force, in_force.put(policy), CONFIDENCE)
                is_enough = report.asked.places >= self._least
                refusal = evaluation.gate(report, self._reward, self._margin, self._least) if is_enough else None
                verdict = evaluation.verdict(report, self._reward, self._least)
                self._newest = asked, in_force.version, Judgement(verdict, refusal)
            return self._newest[2]
