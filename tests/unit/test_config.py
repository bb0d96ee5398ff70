"""The command line of the jobs."""

import os
import re
from pathlib import Path

import pytest

from features.errors import RestoreError
from streaming.config import Cluster, FeaturesConfig, LearnConfig, RecommendConfig
from streaming.flink.checkpoints import checkpoint_of
from streaming.flink.environment import run
from streaming.flink.jars import job_jars
from streaming.jobs import options


def recommend_config(arguments: list[str]) -> RecommendConfig:
    return options.parsed(options.recommend, "recommend", arguments)


def features_config(arguments: list[str]) -> FeaturesConfig:
    return options.parsed(options.features, "features", arguments)


def learn_config(arguments: list[str]) -> LearnConfig:
    return options.parsed(options.learn, "learn", arguments)


@pytest.fixture
def common(tmp_path: Path) -> list[str]:
    return ["--bootstrap-servers", "b:1", "--checkpoints", str(tmp_path / "checkpoints")]


def checkpoint(folder: Path, age_s: int) -> Path:
    folder.mkdir(parents=True)
    metadata = folder / "_metadata"
    metadata.touch()
    os.utime(metadata, (1_000_000 - age_s, 1_000_000 - age_s))
    return folder


def test_defaults_and_groups(common: list[str], tmp_path: Path) -> None:
    recommend = recommend_config([*common, "--model", str(tmp_path)])
    features = features_config([*common, "--feast-repo", str(tmp_path)])
    assert isinstance(recommend, RecommendConfig)
    assert recommend.surface == "home"
    assert (recommend.job.parallelism, recommend.job.restore) == (None, None)
    assert recommend.job.jars == tuple(job_jars())
    assert recommend.job.group_id != features.job.group_id
    assert recommend.job.compression == "lz4"
    assert learn_config([*common, "--compression", "none"]).job.compression == "none"


def test_the_model_is_that_of_the_environment_unless_one_is_given(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("RHEOSTAT_MODEL", str(tmp_path))
    assert recommend_config(common).model_folder == tmp_path
    assert recommend_config([*common, "--model", str(tmp_path / "other")]).model_folder == tmp_path / "other"


@pytest.mark.parametrize("option", ["--model", "--jars"])
def test_missing_path_is_named(
    common: list[str], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recommend_config([*common, "--model", str(tmp_path), option, str(tmp_path / "gone")])
    assert re.search(rf"'{option}'.*'{tmp_path / 'gone'}' does not exist", capsys.readouterr().err)


def test_newest_is_the_checkpoint_or_savepoint_that_was_completed_last(tmp_path: Path) -> None:
    checkpoint(tmp_path / "job" / "chk-9", age_s=20)
    newest = checkpoint(tmp_path / "savepoints" / "savepoint-1", age_s=10)
    (tmp_path / "job" / "chk-10").mkdir()  # never completed
    named = tmp_path / "job" / "chk-9"
    for checkpoints in (str(tmp_path), tmp_path.as_uri()):
        assert checkpoint_of("newest", checkpoints) == newest.as_uri()
        assert checkpoint_of(str(named), checkpoints) == checkpoint_of(named.as_uri(), checkpoints) == named.as_uri()
    # Flink alone can look there: tests/e2e/test_storage.py.
    assert checkpoint_of("s3://bucket/savepoint-1", None) is None
    assert checkpoint_of("newest", "s3://bucket/job") is None


@pytest.mark.parametrize(
    ("path", "checkpoints", "words"),
    [
        ("newest", "here", "no complete checkpoint below"),
        ("gone", "here", "no _metadata"),
        ("newest", None, "looked for in --checkpoints, which is not given"),
    ],
)
def test_nothing_to_restore_from_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, checkpoints: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RestoreError, match=words):
        checkpoint_of(path, checkpoints)


def test_settings_of_flink_go_through_as_they_are(common: list[str]) -> None:
    cfg = learn_config([*common, "-D", "state.backend.type=rocksdb", "--flink", "a=b=c"])
    assert cfg.job.flink == {"state.backend.type": "rocksdb", "a": "b=c"}
    with pytest.raises(SystemExit):
        learn_config([*common, "-D", "state.backend.type"])


def test_a_job_without_what_it_is_to_start_from_ends_with_one_message(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATH", "JVM_ARGS", "LOG4J_PROPERTIES"):  # which it sets for the JVM
        monkeypatch.setenv(name, os.environ.get(name, ""))
    with pytest.raises(SystemExit, match=r"^recommend: --restore newest: no complete checkpoint below"):
        run(
            "recommend",
            recommend_config([*common, "--model", str(tmp_path), "--restore", "newest"]),
            lambda env, cfg: pytest.fail("it was built"),
            "",
            lambda cfg: None,
        )


def test_jobs_take_their_options_from_the_file_then_the_environment_then_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rheostat.yaml").write_text(
        """
        bootstrap-servers: file:1
        topic-prefix: shop-a.
        policy: {set: {author: merchandising}}  # of others
        job:
          checkpoints: s3://state/rheostat
          flink: {state.backend.type: rocksdb, execution.checkpointing.incremental: true}
          ready: {timeout-s: 3}
          recommend: {model: ., parallelism: 4}
          learn: {batch-ms: 200, checkpoints: mine}
        """
    )
    recommend, learn = recommend_config([]), learn_config([])
    assert recommend.job.cluster == Cluster("file:1", "shop-a.")
    assert (recommend.job.parallelism, recommend.job.checkpoints) == (4, "s3://state/rheostat")
    flink = {"state.backend.type": "rocksdb", "execution.checkpointing.incremental": "true"}
    assert recommend.job.flink == learn.job.flink == flink
    assert (learn.batch_ms, learn.job.checkpoints, learn.job.parallelism) == (200, "mine", None)
    monkeypatch.setenv("RHEOSTAT_JOB_RECOMMEND_PARALLELISM", "5")
    assert recommend_config([]).job.parallelism == 5
    assert recommend_config(["--parallelism", "6"]).job.parallelism == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("job: {colour: 1}", "learn: rheostat.yaml: job has colour; expected one of batch-ms, batch-rows"),
        ("job: {recommend: {feast-repo: 1}}", "learn: rheostat.yaml: job.recommend has feast-repo; expected one of"),
        ("job: {learn: [1]}", r"learn: rheostat.yaml: job.learn is \[1\]; expected the options of"),
        (None, "learn: --config names gone.yaml, which is not there"),
    ],
)
def test_file_that_a_job_cannot_use_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "rheostat.yaml").write_text(text)
    with pytest.raises(SystemExit, match=words):
        learn_config(["--bootstrap-servers", "b:1", *(["--config", "gone.yaml"] if text is None else [])])


def test_file_of_options_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("bootstrap-servers: file:1\njob: {parallelism: 3}")
    assert learn_config(["--config", str(tmp_path / "other.yaml")]).job.parallelism == 3
