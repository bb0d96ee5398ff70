"""The command line of the jobs: what all of them take, and what each takes beside.

`rheostat job recommend` and `python -m streaming.jobs.recommend` are the same. Options come from the command line or
the environment (RHEOSTAT_BOOTSTRAP_SERVERS, RHEOSTAT_JOB_RECOMMEND_PARALLELISM) or a file (`streaming/config_file.py`).
"""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from features.errors import ConfigFileError, DeviceError
from onnx_models.device import AUTO, cuda_id
from streaming.config import (
    BOOTSTRAP_VARIABLE,
    FEATURES_GROUP,
    LEARN_GROUP,
    MODEL_VARIABLE,
    NEWEST,
    PREFIX_VARIABLE,
    PROPERTIES_VARIABLE,
    RECOMMEND_GROUP,
    Cluster,
    FeaturesConfig,
    JobConfig,
    LearnConfig,
    RecommendConfig,
)
from streaming.config_file import Settings, config_option, defaults, with_variables
from streaming.flink.jars import job_jars
from streaming.storage import AnyPath, is_here, path_of

Config = TypeVar("Config")
Jars = Annotated[
    list[Path] | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        resolve_path=True,
        help="Flink's Kafka connector and Rheostat's, one each time.",
        show_default="those that come with this version",
    ),
]
FeastRepo = Annotated[
    Path, typer.Option(exists=True, file_okay=False, resolve_path=True, help="In which `feast apply` has run.")
]


class Compression(StrEnum):
    """That Kafka's producer knows."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"
    SNAPPY = "snappy"
    GZIP = "gzip"


def _settings(settings: list[str] | None) -> list[str] | None:
    for setting in settings or ():
        if not setting.partition("=")[1]:
            msg = f"{setting!r}; expected KEY=VALUE, as in -D state.backend.type=rocksdb"
            raise typer.BadParameter(msg)
    return settings


def _artifact(text: str) -> Path:
    path = path_of(text)
    if not is_here(path):
        return path
    if not path.is_dir():
        msg = f"folder '{path}' does not exist"
        raise typer.BadParameter(msg)
    return path.resolve()


def _device(text: str) -> str:
    try:
        if text != AUTO:
            cuda_id(text)
    except DeviceError as error:
        msg = f"{error}, or {AUTO}"
        raise typer.BadParameter(msg) from error
    return text


BootstrapServers = Annotated[
    str, typer.Option(envvar=BOOTSTRAP_VARIABLE, metavar="HOST:PORT", help="Of the Kafka cluster.")
]
ClientProperties = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        resolve_path=True,
        envvar=PROPERTIES_VARIABLE,
        help="How the Kafka cluster is reached, in the form of Kafka's --command-config.",
        show_default="without TLS, anonymously",
    ),
]
TopicPrefix = Annotated[str, typer.Option(envvar=PREFIX_VARIABLE, help="Of all topics and groups of this deployment.")]


Model = Annotated[
    AnyPath, typer.Option(parser=_artifact, metavar="PATH", envvar=MODEL_VARIABLE, help="Folder or URI of an artifact.")
]


def _job(
    bootstrap_servers: BootstrapServers,
    topic_prefix: TopicPrefix = "",
    client_properties: ClientProperties = None,
    restore: Annotated[
        str | None, typer.Option(metavar="PATH", help=f"Checkpoint or savepoint; `{NEWEST}`: that of --checkpoints.")
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Folder or URI of checkpoints and savepoints.", show_default="what Flink is set to"
        ),
    ] = None,
    checkpoint_interval_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Between two checkpoints, each of which holds slates up.",
            show_default=f"what Flink is set to, or {JobConfig.default_checkpoint_interval_ms}",
        ),
    ] = None,
    parallelism: Annotated[
        int | None, typer.Option(min=1, help="Slots.", show_default="what Flink is set to, or 1")
    ] = None,
    restart_attempts: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="In a row, before the job fails.",
            show_default=f"what Flink is set to, or {JobConfig.default_restart_attempts}",
        ),
    ] = None,
    flink: Annotated[
        list[str] | None,
        typer.Option(
            "--flink", "-D", metavar="KEY=VALUE", callback=_settings, help="Any setting of Flink's, one each time."
        ),
    ] = None,
    jars: Jars = None,
    compression: Annotated[Compression, typer.Option(help="Of what is written to Kafka.")] = Compression.LZ4,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="For Prometheus to read; without it there are no metrics.")
    ] = None,
    health_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Of /healthz and /readyz; without it there are none.")
    ] = None,
) -> JobConfig:
    """Return what every job needs; the group is the job's own."""
    return JobConfig(
        cluster=Cluster(bootstrap_servers, topic_prefix, f"{client_properties or ''}"),
        group_id="",
        jars=tuple(jars or job_jars()),
        checkpoints=checkpoints,
        restore=restore,
        parallelism=parallelism,
        checkpoint_interval_ms=checkpoint_interval_ms,
        compression=compression.value,
        restart_attempts=restart_attempts,
        flink=dict(setting.split("=", 1) for setting in flink or ()),
        metrics_port=metrics_port,
        health_port=health_port,
    )


def _with_job(command: Callable[..., Config]) -> Callable[..., Config]:
    """Return a command that takes what `_job` takes in the place of `job`."""
    shared = inspect.signature(_job).parameters
    own = {name: of for name, of in inspect.signature(command).parameters.items() if name != "job"}
    together = [of.replace(kind=inspect.Parameter.KEYWORD_ONLY) for of in (*shared.values(), *own.values())]

    def whole(**options: Any) -> Config:
        job = _job(**{name: options.pop(name) for name in shared})
        return command(job, **options)

    whole.__doc__ = command.__doc__
    whole.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    whole.__annotations__ = {of.name: of.annotation for of in together}
    return whole


@_with_job
def recommend(
    job: JobConfig,
    model: Model,
    surface: Annotated[str, typer.Option(help="Of slates that interactions lead to.")] = RecommendConfig.surface,
    device: Annotated[
        str,
        typer.Option(callback=_device, help="Of the model: cpu, cuda, cuda:N, or auto, the GPU where it runs on one."),
    ] = RecommendConfig.device,
) -> RecommendConfig:
    """Run the job of slates: clicks, purchases and requests in, slates out.

    Example: rheostat job recommend --bootstrap-servers kafka:9092 --model mine --checkpoints c
    """
    return RecommendConfig(replace(job, group_id=RECOMMEND_GROUP), model, surface, device)


@_with_job
def features(
    job: JobConfig,
    feast_repo: FeastRepo,
    batch_ms: Annotated[int, typer.Option(min=1, help="Of a write, at most.")] = FeaturesConfig.batch_ms,
    batch_rows: Annotated[int, typer.Option(min=1, help="Of a write, at most.")] = FeaturesConfig.batch_rows,
    store_patience_s: Annotated[
        float, typer.Option(min=0, help="Wait so long for an online store that is away, then fail.")
    ] = FeaturesConfig.store_patience_s,
) -> FeaturesConfig:
    """Run the job that takes feature rows from the log into Feast, and profiles out of it.

    Example: rheostat job features --bootstrap-servers kafka:9092 --feast-repo repo --checkpoints c
    """
    # Nobody waits for a single row: fewer and larger fetches leave the broker to those who do.
    fetching = replace(job, group_id=FEATURES_GROUP, fetch_min_bytes=1 << 20, fetch_max_wait_ms=100)
    return FeaturesConfig(fetching, feast_repo, batch_ms, batch_rows, store_patience_s)


@_with_job
def learn(
    job: JobConfig,
    batch_ms: Annotated[int, typer.Option(min=1, help="Between two records of estimates.")] = LearnConfig.batch_ms,
    batch_rows: Annotated[int, typer.Option(min=1, help="Outcomes of a batch, at most.")] = LearnConfig.batch_rows,
) -> LearnConfig:
    """Run the job that learns: slates and what became of them in, estimates and turns of controllers out.

    Example: rheostat job learn --bootstrap-servers kafka:9092 --checkpoints c
    """
    fetching = replace(job, group_id=LEARN_GROUP, fetch_min_bytes=1 << 16, fetch_max_wait_ms=100)
    return LearnConfig(fetching, batch_ms, batch_rows)


def _of_jobs(settings: Settings) -> dict[str, Any]:
    """Return the defaults of each job by name."""
    jobs = typer.Typer(add_completion=False)
    for name, job in (("recommend", recommend), ("features", features), ("learn", learn)):
        jobs.command(name)(job)
    if isinstance(section := settings.values.get("job"), dict):
        jobs_alone = {name: value for name, value in section.items() if name != "ready"}  # which is a command
        settings = settings._replace(values={**settings.values, "job": jobs_alone})
    return defaults(settings, "job", typer.main.get_command(jobs))


def parsed(command: Callable[..., Config], name: str, arguments: Sequence[str] | None = None) -> Config:
    """Return what `command` makes of a command line, this process's own without one; end where it cannot be used."""
    results: list[Config] = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

    @functools.wraps(command)
    def keep(**options: Any) -> None:
        results.append(command(**options))

    app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(keep)
    job = with_variables(typer.main.get_command(app), f"job {name}")

    def take(context: Any, settings: Settings) -> None:
        context.default_map = _of_jobs(settings)[name]

    job.params.insert(0, config_option(take))
    try:
        job(arguments, prog_name=name)
    except ConfigFileError as error:
        sys.exit(f"{name}: {error}")
    except SystemExit:
        if not results:
            raise
    return results[0]
