"""`policy set --gate`: what the log speaks against is not written, and what is in force stays."""

from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from features.simulator.shop import Shop
from infra.bench.closed_loop import ClosedLoop
from infra.local.kafka import local_kafka
from infra.local.topics import create_topics
from streaming.cli.main import app
from streaming.cli.policy import history
from streaming.io.feed import Feed
from streaming.schemas import Policy
from streaming.scoring.model import shared_model

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
EXPLORING = {"budget": 0.3, "settled": 1.0, "temperature": 0.2, "epsilon": 0.2}


def test_a_policy_that_may_be_worse_is_refused_and_one_that_is_not_goes_into_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force = msgspec.convert({"version": 2, "author": "test", "exploration": EXPLORING}, Policy)
    loop = ClosedLoop(Shop(5), shared_model(ARTIFACT), keeps_log=True)
    loop.turn(in_force)
    loop.run(25)
    loop.land(tmp_path / "log")
    asked = tmp_path / "policy.yaml"

    def turn(epsilon: float, *options: str) -> tuple[int, str]:
        asked.write_text(yaml.safe_dump({"exploration": EXPLORING | {"epsilon": epsilon}}))
        command = ["policy", "set", str(asked), "--gate", "--log", str(tmp_path / "log"), "--model", str(ARTIFACT)]
        result = CliRunner().invoke(app, [*command, *options])
        return result.exit_code, " ".join(result.stderr.split())

    with local_kafka(tmp_path / "kafka") as broker:
        create_topics(broker.bootstrap_servers)
        monkeypatch.setenv("RHEOSTAT_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        with Feed(broker.bootstrap_servers) as feed:
            feed.policy(in_force)
        code, said = turn(0.95)
        assert code == 2
        assert "refused at the gate, and what is in force stays: it may be worse: clicks of a slate change by" in said
        assert [each["version"] for each in history(broker.bootstrap_servers)[0]] == [2]
        code, said = turn(0.95, "--margin", "0.9")
        assert code == 0, said
        assert history(broker.bootstrap_servers)[1]["global"]["exploration"]["epsilon"] == 0.95
