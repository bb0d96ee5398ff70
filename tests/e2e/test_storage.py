"""Model, checkpoints, savepoints and logs in object storage: a job and the commands on a real S3 protocol."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.replay import ARTIFACT, newest_rows
from support.runs import Runs, history
from support.s3 import client, s3_server
from typer.testing import CliRunner

from features.sources.simulator import shop
from infra.local.job import local_job
from infra.local.kafka import ROOT
from streaming.cli.main import app
from streaming.config import NEWEST
from streaming.io.feed import to_item

pytestmark = pytest.mark.nightly
BUCKET, DEADLINE_S = "rheostat", 90.0
NOWHERE = f"s3://{BUCKET}/none"
MODEL, CHECKPOINTS, LOG = (f"s3://{BUCKET}/{name}" for name in ("models/generator", "recommend", "log"))


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server(BUCKET) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("FLINK_PLUGINS_DIR", str(ROOT / ".local" / "plugins"))
        for file in ARTIFACT.iterdir():
            client(environment).upload_file(str(file), BUCKET, f"models/generator/{file.name}")
        yield environment


def flink_settings(s3: Mapping[str, str]) -> tuple[str, ...]:
    return ("-D", f"s3.endpoint={s3['AWS_ENDPOINT_URL']}", "-D", "s3.path.style.access=true")


def keys(s3: Mapping[str, str], prefix: str) -> list[str]:
    listed = client(s3).list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [found["Key"] for found in listed.get("Contents", [])]


def said(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def test_a_job_whose_all_lies_in_object_storage_goes_on_after_a_kill_and_a_stop(
    runs: Runs, s3: Mapping[str, str]
) -> None:
    interactions = history(300)
    elsewhere = ("--model", MODEL, "--checkpoints", CHECKPOINTS, *flink_settings(s3))
    every = ("--checkpoint-interval-ms", "1000")
    with runs.job(*elsewhere, *every) as job:
        for interaction in interactions[:100]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 100)
        before = keys(s3, "recommend/")
        runs.wait(job, lambda: any(key.endswith("/_metadata") for key in set(keys(s3, "recommend/")) - set(before)))
        job.kill()
    with runs.job(*elsewhere, "--restore", NEWEST) as job:
        for interaction in interactions[100:200]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 200)
    assert f"--restore {CHECKPOINTS}/savepoints/savepoint-" in job.log.read_text(encoding="utf-8")
    with runs.job(*elsewhere, "--restore", NEWEST) as job:
        for interaction in interactions[200:]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 300)
    assert runs.newest_rows() == newest_rows(interactions, [to_item(item) for item in shop.items()])

    at = ("--bootstrap-servers", runs.cluster.bootstrap_servers)
    prefix = ("--topic-prefix", runs.cluster.topic_prefix)
    landed = said(*prefix, "log", "sink", "--out", LOG, "--once", *at)
    assert landed["feature_log"]["rows"] == 300
    assert said(*prefix, "log", "sink", "--out", LOG, "--once", *at)["feature_log"]["rows"] == 0
    out = f"s3://{BUCKET}/set.parquet"
    summary = said("train-set", "--log", f"{LOG}/feature_log", "--horizon-s", "1", "--out", out)
    assert summary["rows"] > 0
    assert keys(s3, "set.parquet") == ["set.parquet"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--checkpoints", f"{CHECKPOINTS}/none", "--restore", NEWEST),
            f"no complete checkpoint below {CHECKPOINTS}/none",
        ),
        (("--restore", f"{CHECKPOINTS}/chk-1"), f"{CHECKPOINTS}/chk-1 is neither a checkpoint nor a savepoint"),
        (("--checkpoints", "s3://elsewhere/c"), "Flink cannot reach s3://elsewhere/c: "),
        (("--checkpoints", "gs://elsewhere/c"), "Flink cannot reach gs://elsewhere/c: "),
    ],
    ids=["newest", "named", "bucket", "scheme"],
)
def test_what_is_not_there_is_one_sentence(
    runs: Runs, s3: Mapping[str, str], options: tuple[str, ...], words: str
) -> None:
    with local_job("learn", runs.home, runs.cluster, *options, *flink_settings(s3)) as job:
        job.process.wait(DEADLINE_S)
    assert words in job.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "words"),
    [(f"s3://{BUCKET}/gone", "no model in s3://rheostat/gone"), ("nowhere://x/y", "nowhere://x/y cannot be read")],
)
def test_a_model_that_is_nowhere_is_one_sentence(s3: Mapping[str, str], model: str, words: str) -> None:
    result = CliRunner().invoke(app, ["job", "recommend", "--bootstrap-servers", "127.0.0.1:1", "--model", model])
    assert result.exit_code != 0
    assert words in result.output
