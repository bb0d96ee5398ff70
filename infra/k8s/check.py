"""`make k8s-check`: renders the chart with every file of values, and holds all manifests to what a cluster takes.

Offline. Kubernetes' own kinds by its OpenAPI documents (kubernetes-validate); those of operators by TypeScript, whose
compiler knows their fields by the types in infra/k8s/crds; the chart by Helm's lint; the images by hadolint.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import yaml

from streaming.config import Cluster
from streaming.contract import strimzi

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HELM, CRDS = ROOT / ".local" / "helm", ROOT / ".local" / "crds"
KUBERNETES = "1.31"
# Of the kinds of operators: where their types lie.
_MODULES = {
    "flink.apache.org": "@kubernetes-models/flink",
    "kafka.strimzi.io": "@kubernetes-models/strimzi-kafka-operator",
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
}
_UNTYPED = {"v2_3": "v2_2"}  # versions of Flink that the operator takes from 1.16 on, of which there are no types yet
_LINKS = re.compile(r"^\S+ \S+ found symbolic link in path: .*\n", re.MULTILINE)  # alerts and dashboard, as is meant


class Manifest(NamedTuple):
    """A resource, and where it is from."""

    source: str
    resource: dict[str, Any]

    @property
    def group(self) -> str:
        return str(self.resource["apiVersion"]).rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.source}: {self.resource['kind']} {self.resource['metadata']['name']}"


def main() -> None:
    """Print what is wrong, or how much was checked; exit 1 if anything is."""
    manifests = [*rendered(), *exported()]
    wrong = [*of_kubernetes(manifests), *of_operators(manifests), *of_images()]
    if wrong:
        sys.exit("\n".join(wrong))
    kinds = len({manifest.resource["kind"] for manifest in manifests})
    sys.stdout.write(f"k8s-check: {len(manifests)} manifests of {kinds} kinds and {len(images())} images are right\n")


def rendered(chart: Path = HERE / "chart", values: Path = HERE / "values") -> list[Manifest]:
    """Return what the chart makes of every file of values.

    Raises:
        SystemExit: Helm refuses the chart or a file; its message is printed.
    """
    with tempfile.TemporaryDirectory() as name:
        files = [HERE / "Render.java", chart, name, *sorted(values.glob("*.yaml"))]
        command = ["java", "-cp", f"{HELM}/*", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"k8s-check: {_LINKS.sub('', done.stderr)}")
        return [
            Manifest(file.name, resource)
            for file in sorted(Path(name).iterdir())
            for resource in yaml.safe_load_all(file.read_text(encoding="utf-8"))
            if resource is not None
        ]


def exported() -> Iterator[Manifest]:
    """Yield what `rheostat topics export` writes."""
    cluster = Cluster("", "shop-a.")
    for authentication in ("scram-sha-512", "tls"):
        for resource in strimzi.kafka_users("shop", cluster, authentication):
            yield Manifest(f"rheostat topics export --authentication {authentication}", resource)
    for resource in strimzi.kafka_topics("shop", cluster, 12, 3):
        yield Manifest("rheostat topics export", resource)


def of_kubernetes(manifests: list[Manifest]) -> Iterator[str]:
    """Yield what is wrong with Kubernetes' own kinds."""
    for manifest in manifests:
        if manifest.group in _MODULES:
            continue
        try:
            kubernetes_validate.validate(manifest.resource, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{manifest}: {'.'.join(map(str, error.path))}: {error.message}"


def of_operators(manifests: list[Manifest]) -> Iterator[str]:
    """Yield what is wrong with the kinds of operators."""
    typed = [manifest for manifest in manifests if manifest.group in _MODULES]
    lines, imports = [], set()
    for number, manifest in enumerate(typed):
        kind, version = manifest.resource["kind"], manifest.resource["apiVersion"]
        alias = f"{kind}_{version.rpartition('/')[2]}"
        imports.add(f'import type {{ I{kind} as {alias} }} from "{_MODULES[manifest.group]}/{version}/{kind}";')
        lines.append(f"const m{number}: {alias} = {_literal(manifest.resource)};")
    program = "\n".join([*sorted(imports), *lines, ""])
    with tempfile.TemporaryDirectory(dir=CRDS) as name:
        folder = Path(name)
        (folder / "manifests.ts").write_text(program, encoding="utf-8")
        shutil.copy(HERE / "crds" / "tsconfig.json", folder)
        done = subprocess.run(
            [CRDS / "node_modules" / ".bin" / "tsc", "--project", folder, "--pretty", "false"],
            capture_output=True,
            text=True,
            check=False,
        )
    for line in done.stdout.splitlines():
        at = re.match(r".*manifests\.ts\((\d+),\d+\): error \w+: (.*)", line)
        if at is None:
            yield line
        else:
            yield f"{typed[int(at[1]) - 1 - len(imports)]}: {at[2]}"
    if done.returncode and not done.stdout:
        yield f"tsc: {done.stderr}"


def _literal(resource: dict[str, Any]) -> str:
    """Return a resource as a line of TypeScript, in which a field that is none is an error."""
    if resource["kind"] == "FlinkDeployment":
        version = resource["spec"]["flinkVersion"]
        resource = {**resource, "spec": {**resource["spec"], "flinkVersion": _UNTYPED.get(version, version)}}
    return json.dumps(resource)


def images() -> list[Path]:
    """Return what images are built from."""
    return sorted(HERE.glob("Dockerfile*"))


def of_images() -> Iterator[str]:
    """Yield what is wrong with them."""
    done = subprocess.run(["hadolint", "--no-color", *images()], capture_output=True, text=True, check=False)
    yield from done.stdout.splitlines() + done.stderr.splitlines()


if __name__ == "__main__":
    main()
