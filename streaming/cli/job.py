"""`rheostat job`: the jobs of the stream, each in this process until SIGTERM stops it with a savepoint."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from features.errors import NotReadyError
from streaming.cli.group import group
from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say
from streaming.jobs import options

job = group("Run a job of the stream here until SIGTERM stops it with a savepoint.")


def _add(name: str, command: Callable[..., Any]) -> None:
    @functools.wraps(command)
    def start(**given: Any) -> None:
        importlib.import_module(f"streaming.jobs.{name}").start(command(**given))

    job.command(name)(start)


@job.command("ready")
def ready(
    cluster: OnCluster,
    timeout_s: Annotated[float, typer.Option(min=1, help="For which a first answer is waited for.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Wait until the job recommend answers made-up clicks, and at a steady time; exit 1 if it does not answer.

    Example: rheostat job ready --timeout-s 300
    """
    from confluent_kafka import KafkaException

    from streaming.io.probes import wait_until_warm

    console = printer(as_json)
    try:
        with errors(KafkaException), console.status("waiting for answers …"):
            warmth = wait_until_warm(cluster, timeout_s)
    except NotReadyError as error:
        say(f"not ready: {error}", console)
        print_json({"ready": False, "says": str(error)}, as_json)
        raise typer.Exit(1) from error
    say(f"ready after {warmth.after_s:.1f} s: {warmth}", console)
    print_json({"ready": True, **dataclasses.asdict(warmth)}, as_json)


for _name in ("recommend", "features", "learn"):
    _add(_name, getattr(options, _name))
