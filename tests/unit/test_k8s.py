"""What `make k8s-check` finds: that a chart passes says something only if one with a slip does not."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.replay import ARTIFACT

from infra.k8s import check
from infra.k8s.check import Manifest
from streaming.jobs import options

VALUES = check.HERE / "values"
pytestmark = pytest.mark.skipif(
    not check.CRDS.is_dir() and not os.environ.get("CI"), reason="no node on the PATH (Debian: apt-get install npm)"
)


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return check.rendered()


def of(manifests: list[Manifest], kind: str, name: str, source: str = "production.yaml") -> dict[str, Any]:
    (resource,) = [
        manifest.resource
        for manifest in manifests
        if (manifest.source, manifest.resource["kind"], manifest.resource["metadata"]["name"]) == (source, kind, name)
    ]
    return copy.deepcopy(resource)


def test_all_manifests_are_as_they_must_be(manifests: list[Manifest]) -> None:
    assert {manifest.source for manifest in manifests} == {path.name for path in VALUES.iterdir()}
    assert not list(check.of_kubernetes(manifests))
    assert not list(check.of_operators([*manifests, *check.exported()]))


SLIPS: list[tuple[str, str, Callable[[dict[str, Any]], object], str]] = [
    ("Deployment", "shop-serve", lambda it: it["spec"].update(replica=2), "replica"),
    ("Role", "shop", lambda it: it["rules"][0].pop("verbs"), "verbs"),
    ("FlinkDeployment", "shop-learn", lambda it: it["spec"].update(flinkConfig={}), "flinkConfig"),
    ("FlinkDeployment", "shop-learn", lambda it: it["spec"]["job"].update(upgradeMode="last"), "last-state"),
    (
        "FlinkDeployment",
        "shop-learn",
        lambda it: it["spec"]["podTemplate"]["spec"]["containers"][0].update(mounts=[]),
        "mounts",
    ),
    ("PodMonitor", "shop", lambda it: it["spec"]["podMetricsEndpoints"][0].update(every="10s"), "every"),
    ("PrometheusRule", "shop", lambda it: it["spec"]["groups"][0]["rules"][0].update(If="up"), "If"),
]


@pytest.mark.parametrize(("kind", "name", "slip", "words"), SLIPS, ids=[f"{of[0]}-{of[3]}" for of in SLIPS])
def test_a_slip_is_found(
    manifests: list[Manifest], kind: str, name: str, slip: Callable[[dict[str, Any]], object], words: str
) -> None:
    resource = of(manifests, kind, name)
    slip(resource)
    slipped = [Manifest("slipped", resource)]
    found = [*check.of_kubernetes(slipped), *check.of_operators(slipped)]
    assert any(sentence.startswith(f"slipped: {kind} {name}") and words in sentence for sentence in found), found


@pytest.mark.parametrize("source", ["production.yaml", "smallest.yaml", "gpu.yaml"])
def test_jobs_take_the_settings_that_the_chart_writes(
    manifests: list[Manifest], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = of(manifests, "ConfigMap", "shop", source)["data"]["rheostat.yaml"]
    values = yaml.safe_load((VALUES / source).read_text(encoding="utf-8"))
    settings = yaml.safe_load(written)
    assert settings["model"] == values["model"]
    settings["model"], settings["job"]["features"]["feast-repo"] = str(ARTIFACT), str(tmp_path)  # as a pod has them
    if "client-properties" in settings:
        settings["client-properties"] = str(tmp_path / "client.properties")
        (tmp_path / "client.properties").write_text("security.protocol=PLAINTEXT\n")
    file = tmp_path / "rheostat.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.setenv("RHEOSTAT_CONFIG", str(file))
    recommend = options.parsed(options.recommend, "recommend", [])
    assert recommend.model_folder == ARTIFACT.resolve()
    assert recommend.device == ("cuda" if source == "gpu.yaml" else "cpu")
    assert options.parsed(options.features, "features", []).feast_repo == tmp_path
    cluster = options.parsed(options.learn, "learn", []).job.cluster
    assert (cluster.bootstrap_servers, cluster.topic_prefix) == (
        values["kafka"]["bootstrapServers"],
        values["kafka"].get("topicPrefix", ""),
    )


def test_what_only_the_platform_knows_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("model: s3://a/b\nflink: {storage: s3://a/c}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"kafka\.bootstrapServers is needed"):
        check.rendered(values=tmp_path)
    (tmp_path / "values.yaml").write_text("modell: s3://a/b\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="modell"):
        check.rendered(values=tmp_path)
