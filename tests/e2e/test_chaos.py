"""Parts of the system are killed under load, and nothing is lost and nothing is otherwise than without."""

from pathlib import Path

import pytest
from support.replay import ARTIFACT

from infra.chaos.run import run

DIFFERENCES = (
    "rec_ids_lost",
    "rec_ids_too_many",
    "rows_different",
    "feast_rows_different",
    "dead_letters_lost",
    "dead_letters_too_many",
    "outcomes_different",
)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("seed", "kills", "between_s"),
    [
        pytest.param(1, ["TaskManager killed", "broker killed", "job learn ended"], 4.0, id="three"),
        pytest.param(2, 20, 8.0, id="twenty", marks=pytest.mark.nightly),
    ],
)
def test_nothing_is_lost_and_nothing_is_otherwise(
    tmp_path: Path, seed: int, kills: int | list[str], between_s: float
) -> None:
    said: list[str] = []
    figures = run(tmp_path / "chaos", ARTIFACT, seed, kills, 40, between_s, said.append)
    assert len(figures["kills"]) == (kills if isinstance(kills, int) else len(kills)), said
    assert {name: figures[name] for name in DIFFERENCES} == dict.fromkeys(DIFFERENCES, 0), "\n".join(said)
