"""What all jobs share: how Flink is set up, started, and stopped in order."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

import pyflink
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from features.errors import RheostatError
from streaming.config import JobConfig
from streaming.flink.checkpoints import checkpoint_of

# docs/benchmarks/journal.md says what each gave. The environment variable JVM_ARGS takes their place.
FOR_LATENCY = "-XX:+UseSerialGC -Xms512m -Xmx1g -XX:MetaspaceSize=160m"
FOR_LITTLE_CPU = f"{FOR_LATENCY} -XX:TieredStopAtLevel=1"  # no second compiler beside those who wait for a slate


def environment(cfg: JobConfig, jvm_args: str) -> StreamExecutionEnvironment:
    """Return the environment of a job that runs Python inside the TaskManager and checkpoints exactly once.

    Raises:
        RestoreError: what it is to start from is not there.
    """
    # The embedded interpreter is found through the first `python` on PATH; the JVM inherits this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.setdefault("JVM_ARGS", jvm_args)
    settings = {
        "python.execution-mode": "thread",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "pipeline.jars": ";".join(jar.as_uri() for jar in cfg.jars),
        # A job with an operator that has no uid of its own does not start: its state would not survive a change.
        "pipeline.auto-generate-uids": "false",
        # Nothing that is handed on is changed afterwards, so chained operators need no copies.
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": f"{cfg.buffer_timeout_ms} ms",
        "execution.checkpointing.interval": f"{cfg.checkpoint_interval_ms} ms",
        # Of the state; what the sinks guarantee is theirs to say.
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": cfg.checkpoint_folder.as_uri(),
        "execution.checkpointing.savepoint-dir": (cfg.checkpoint_folder / "savepoints").as_uri(),
        # A job that was killed or cancelled can be restored from its last checkpoint.
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": str(cfg.restart_attempts),
        "restart-strategy.fixed-delay.delay": "1 s",
    }
    if cfg.metrics_port is not None:
        # A MiniCluster loads no plugins, so the reporter must stand on the classpath. There is one way to add to that.
        (reporter,) = (Path(pyflink.__file__).parent / "plugins" / "metrics-prometheus").glob("*.jar")
        others = os.environ.get("HADOOP_CLASSPATH")
        os.environ["HADOOP_CLASSPATH"] = os.pathsep.join([*([others] if others else []), str(reporter)])
        settings |= {
            "metrics.reporter.prometheus.factory.class": PROMETHEUS,
            "metrics.reporter.prometheus.port": str(cfg.metrics_port),
        }
    if cfg.restore is not None:
        settings["execution.state-recovery.path"] = checkpoint_of(cfg.restore, cfg.checkpoint_folder).as_uri()
    configuration = Configuration()
    for key, value in settings.items():
        configuration.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.set_parallelism(cfg.parallelism)
    return env


PROMETHEUS = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"


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
    check: Callable[[Config], None] = lambda cfg: None,
) -> None:
    """Run a job until it is told to stop (SIGTERM, SIGINT), which it does with a savepoint.

    Args:
        job_name: as Flink shows it.
        cfg: its configuration.
        build: puts the topology into the environment.
        jvm_args: of the process.
        check: raises a RheostatError where the configuration cannot be used; the process ends with its message.

    Raises:
        Py4JJavaError: the job failed for good; the message carries what made it fail.
    """
    try:
        check(cfg)
        env = environment(cfg.job, jvm_args)
    except RheostatError as error:
        sys.exit(f"{job_name}: {error}")
    build(env, cfg)
    client = env.execute_async(job_name)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_stop)
    with contextlib.suppress(_Stop):
        client.get_job_execution_result().result()
        return
    # JobClient.stop_with_savepoint of PyFlink 2.3 leaves out an argument that Flink wants.
    canonical = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType.CANONICAL
    savepoint = client._j_job_client.stopWithSavepoint(False, None, canonical).get().removeprefix("file:")
    sys.stdout.write(f"{job_name} stopped; `--restore {savepoint}` goes on from here\n")


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop
