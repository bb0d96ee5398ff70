"""What all jobs share: how Flink is set up, started, and stopped in order.

A job is embedded, in a process of its own (`python -m streaming.jobs.recommend`), or submitted to a cluster by Flink's
command line or its operator. What it needs to be right is always set; what is a matter of taste, only where neither a
command line nor the cluster's own configuration says it.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, TypeVar

import pyflink
from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from features.errors import RheostatError, SubmissionError
from streaming import logs
from streaming.config import JobConfig
from streaming.flink.checkpoints import checkpoint_of, is_here, location
from streaming.flink.file_systems import check_storage, checkpoint_elsewhere, load_plugins
from streaming.flink.health import serving

# docs/benchmarks/journal.md says what each gave. The environment variable JVM_ARGS takes their place.
FOR_LATENCY = "-XX:+UseSerialGC -Xms512m -Xmx1g -XX:MetaspaceSize=160m"
FOR_LITTLE_CPU = f"{FOR_LATENCY} -XX:TieredStopAtLevel=1"  # no second compiler beside those who wait for a slate
PROMETHEUS = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
HERE = "127.0.0.1"
RECOVERY = "execution.state-recovery.path"
CONF_VARIABLE = "FLINK_CONF_DIR"  # where a config.yaml of Flink's lies


_NEWER_STATE = re.compile(r"NewerStateException: (.*)")


class _Default(NamedTuple):
    """A setting that holds where nobody says otherwise."""

    holder: str  # class of Flink's that has …
    option: str  # … the option, which knows the keys of old, too
    key: str
    value: str


def environment(cfg: JobConfig, jvm_args: str) -> StreamExecutionEnvironment:
    """Return the environment of a job that runs Python inside the TaskManager and checkpoints exactly once.

    Raises:
        RestoreError: what it is to start from is not there.
        StorageError: where checkpoints are to lie cannot be reached.
        SubmissionError: an option is the cluster's to say.
    """
    folder = None  # of a config.yaml
    if not is_submitted():
        # It would be the JVM's own, which then lacks the options of the wheel's that PyFlink cannot do without.
        folder = os.environ.pop(CONF_VARIABLE, None)
        _prepare_process(cfg, jvm_args)
    elif cfg.metrics_port is not None or cfg.health_port is not None:
        option = "--health-port" if cfg.metrics_port is None else "--metrics-port"
        msg = f"{option} is for a job in a process of its own; a cluster's reporters and REST port say as much of it"
        raise SubmissionError(msg)
    asked = _asked(cfg)  # first: what is wrong with it is said without a JVM
    theirs = _settings_of_others(folder)
    defaults = {default.key: default.value for default in _defaults(cfg) if not _says(theirs, default)}
    settings = {**defaults, **_required(cfg), **asked}
    if not is_submitted():
        settings = {**theirs.toMap(), **settings}
    configuration = Configuration()
    for key, value in settings.items():
        configuration.set_string(key, value)
    _reach_storage(cfg, asked, configuration)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.add_jars(*[jar.as_uri() for jar in cfg.jars])  # not `pipeline.jars`, in which Flink has its own by now
    return env


def _reach_storage(cfg: JobConfig, asked: Mapping[str, str], configuration: Configuration) -> None:
    """See that Flink reaches where checkpoints are to lie, and find there what it is to start from."""
    if not is_submitted():
        load_plugins(configuration)
    if cfg.checkpoints is not None and not is_here(folder := location(cfg.checkpoints)):
        check_storage(folder)
    if cfg.restore is not None and RECOVERY not in asked:  # it is not here
        configuration.set_string(RECOVERY, checkpoint_elsewhere(cfg.restore, cfg.checkpoints))


def is_submitted() -> bool:
    """Return whether Flink's command line or operator runs this process, and a cluster the job."""
    return "PYFLINK_GATEWAY_PORT" in os.environ


def _prepare_process(cfg: JobConfig, jvm_args: str) -> None:
    """Say in the environment what the job's JVM, which is not there yet, will need."""
    # The embedded interpreter is found through the first `python` on PATH; the JVM inherits this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Or PyFlink puts its own folders in the place of a FLINK_PLUGINS_DIR.
    os.environ.setdefault("FLINK_HOME", f"{Path(pyflink.__file__).parent}")
    # Or PyFlink starts a server for Python workers, open to all the network, which nobody here will ask.
    os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112
    os.environ.setdefault("JVM_ARGS", jvm_args)
    lines = "log4j2-json.properties" if logs.is_json() else "log4j2.properties"
    os.environ.setdefault("LOG4J_PROPERTIES", f"{Path(__file__).parent / lines}")
    if cfg.metrics_port is not None:
        # A MiniCluster loads no plugins, so the reporter must stand on the classpath. There is one way to add to that.
        (reporter,) = (Path(pyflink.__file__).parent / "plugins" / "metrics-prometheus").glob("*.jar")
        others = os.environ.get("HADOOP_CLASSPATH")
        os.environ["HADOOP_CLASSPATH"] = os.pathsep.join([*([others] if others else []), str(reporter)])


def _settings_of_others(folder: str | None) -> Any:
    """Return Java's Configuration of what the cluster says, or for a job of its own the config.yaml in `folder`."""
    jvm = get_gateway().jvm
    if is_submitted():
        return jvm.StreamExecutionEnvironment.getExecutionEnvironment().getConfiguration()
    if folder is not None:
        return jvm.org.apache.flink.configuration.GlobalConfiguration.loadConfiguration(folder)
    return jvm.org.apache.flink.configuration.Configuration()


def _says(settings: Any, default: _Default) -> bool:
    options = getattr(get_gateway().jvm.org.apache.flink.configuration, default.holder)
    return bool(settings.contains(getattr(options, default.option)))


def _required(cfg: JobConfig) -> Mapping[str, str]:
    """Return what no cluster may say otherwise."""
    settings = {
        "python.execution-mode": "thread",
        # A job with an operator that has no uid of its own does not start: its state would not survive a change.
        "pipeline.auto-generate-uids": "false",
        # Nothing that is handed on is changed afterwards, so chained operators need no copies.
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": f"{cfg.buffer_timeout_ms} ms",
        # Of the state; what the sinks guarantee is theirs to say.
        "execution.checkpointing.mode": "EXACTLY_ONCE",
    }
    if not is_submitted():
        # A cluster has its Python where its machines have it …
        settings |= {"python.executable": sys.executable, "python.client.executable": sys.executable}
        # … and before its REST API what its platform puts there. ReadOnlyRest.java refuses what would end the job.
        settings |= {"rest.bind-address": HERE, "jobmanager.bind-host": HERE, "rheostat.rest.read-only": "true"}
    return settings


def _defaults(cfg: JobConfig) -> list[_Default]:
    checkpointing, restarts = "CheckpointingOptions", "RestartStrategyOptions"
    interval, failures = "execution.checkpointing.interval", "execution.checkpointing.tolerable-failed-checkpoints"
    retention = "execution.checkpointing.externalized-checkpoint-retention"
    defaults = [
        _Default(checkpointing, "CHECKPOINTING_INTERVAL", interval, f"{cfg.default_checkpoint_interval_ms} ms"),
        _Default(checkpointing, "TOLERABLE_FAILURE_NUMBER", failures, f"{cfg.tolerable_failed_checkpoints}"),
        # A job that was killed or cancelled can be restored from its last checkpoint.
        _Default(checkpointing, "EXTERNALIZED_CHECKPOINT_RETENTION", retention, "RETAIN_ON_CANCELLATION"),
    ]
    if not is_submitted():
        defaults.append(_Default("CoreOptions", "DEFAULT_PARALLELISM", "parallelism.default", "1"))
    if cfg.restart_attempts is None:
        restart = _restarts(cfg.default_restart_attempts)
        defaults += [_Default(restarts, "RESTART_STRATEGY", key, value) for key, value in restart.items()]
    return defaults


def _asked(cfg: JobConfig) -> Mapping[str, str]:
    """Return what the job's own options say."""
    settings = dict(cfg.flink)
    if cfg.checkpoints is not None:
        settings["execution.checkpointing.dir"] = location(cfg.checkpoints)
        settings["execution.checkpointing.savepoint-dir"] = f"{location(cfg.checkpoints)}/savepoints"
    if cfg.checkpoint_interval_ms is not None:
        settings["execution.checkpointing.interval"] = f"{cfg.checkpoint_interval_ms} ms"
    if cfg.parallelism is not None:
        settings["parallelism.default"] = f"{cfg.parallelism}"
    if cfg.restart_attempts is not None:
        settings |= _restarts(cfg.restart_attempts)
    if cfg.metrics_port is not None:
        settings["metrics.reporter.prometheus.factory.class"] = PROMETHEUS
        settings["metrics.reporter.prometheus.port"] = f"{cfg.metrics_port}"
    if cfg.restore is not None and (checkpoint := checkpoint_of(cfg.restore, cfg.checkpoints)) is not None:
        settings[RECOVERY] = checkpoint
    return settings


def _restarts(attempts: int) -> Mapping[str, str]:
    """Return that a job is restarted after 1 s, 2 s, 4 s, … 1 min, and fails at what follows `attempts` of them.

    They are counted anew when it has run for ten minutes without a failure.
    """
    if not attempts:
        return {"restart-strategy.type": "none"}
    delay = "restart-strategy.exponential-delay"
    return {
        "restart-strategy.type": "exponential-delay",
        f"{delay}.initial-backoff": "1 s",
        f"{delay}.backoff-multiplier": "2.0",
        f"{delay}.max-backoff": "1 min",
        f"{delay}.reset-backoff-threshold": "10 min",
        f"{delay}.attempts-before-reset-backoff": f"{attempts}",
    }


class _Stop(BaseException):
    """SIGTERM or SIGINT came."""


class _HasJob(Protocol):
    @property
    def job(self) -> JobConfig: ...


Config = TypeVar("Config", bound=_HasJob)


def run(
    job_name: str,
    cfg: Config,
    build: Callable[[StreamExecutionEnvironment, Config], None],
    jvm_args: str,
    check: Callable[[Config], None],
) -> None:
    """Run a job until it is told to stop (SIGTERM, SIGINT), which it does with a savepoint.

    A job that is submitted is the cluster's: this returns at once, or where Flink's command line is attached to it,
    when it has ended.

    Args:
        job_name: as Flink shows it.
        cfg: its configuration.
        build: puts the topology into the environment.
        jvm_args: of the process.
        check: raises a RheostatError where the configuration cannot be used; the process ends with its message.

    Raises:
        Py4JJavaError: the job failed for good; the message carries what made it fail.
    """
    logs.configure()
    try:
        check(cfg)
        env = environment(cfg.job, jvm_args)
    except RheostatError as error:
        logs.end(job_name, str(error))
    build(env, cfg)
    client = env.execute_async(job_name)
    if is_submitted():
        if _is_attached(env):
            client.get_job_execution_result().result()
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_stop)
    with serving(cfg.job.health_port, client), contextlib.suppress(_Stop):
        try:
            client.get_job_execution_result().result()
        except Py4JJavaError as error:
            if (newer := _NEWER_STATE.search(str(error))) is not None:
                logs.end(job_name, f"--restore {cfg.job.restore}: {newer[1]}")
            raise
        return
    # JobClient.stop_with_savepoint of PyFlink 2.3 leaves out an argument that Flink wants.
    canonical = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType.CANONICAL
    savepoint = client._j_job_client.stopWithSavepoint(False, None, canonical).get().removeprefix("file:")
    logs.tell(job_name, f"stopped; `--restore {savepoint}` goes on from here")


def _is_attached(env: StreamExecutionEnvironment) -> bool:
    deployment = get_gateway().jvm.org.apache.flink.configuration.DeploymentOptions
    settings = env._j_stream_execution_environment.getConfiguration()
    is_application = settings.get(deployment.TARGET) == "embedded"  # which waits for the job by itself
    return bool(settings.get(deployment.ATTACHED)) and not is_application


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop
