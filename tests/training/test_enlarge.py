"""An artifact of any size is one that the job takes."""

from pathlib import Path

from infra.bench.enlarge import enlarge
from streaming.scoring.model import SessionModel

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
COUNT = 5_000


def test_enlarged_artifact_loads_and_answers_with_its_items(tmp_path: Path) -> None:
    enlarge(ARTIFACT, tmp_path, COUNT)
    model = SessionModel(tmp_path)
    assert len(model.items.ids) == COUNT + 1
    output = model.next_items([COUNT, 1, COUNT // 2])
    assert len(set(output.items.tolist())) == model.manifest.candidate_count
    assert output.items.max() > 2_000  # more than it was trained on
