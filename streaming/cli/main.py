"""The command `rheostat`: everything that is done with the jobs and their data.

Exit codes: 0 done; 1 the answer is no; 2 it could not be done, and one message says why; 130 interrupted.

Options come from the command line, from the environment (RHEOSTAT_POLICY_SET_AUTHOR), from rheostat.yaml (--config), in
this order.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.group import Command, root
from streaming.config import PREFIX_VARIABLE, PROPERTIES_VARIABLE

CHECKOUT = "infra.cli.commands"
COMMANDS = {
    "policy": Command("streaming.cli.policy:policy", "What slates aim at, now and before."),
    "console": Command("streaming.cli.console:console", "A page that turns the policy, and shows what that does."),
    "watch": Command("streaming.cli.watch:watch", "What the jobs do, live, from their metrics."),
    "explain": Command("streaming.cli.explain:explain", "Why an item stands at its place."),
    "evaluate": Command("streaming.cli.evaluate:evaluate", "What a policy would have brought, from the log."),
    "experiment": Command("streaming.cli.experiment:experiment", "An experiment beside its control."),
    "topics": Command("streaming.cli.topics:topics", "The topics of a deployment."),
    "items": Command("streaming.cli.items:items", "What the shop sells."),
    "features": Command("streaming.cli.operate:features", "What the online store holds."),
    "dead-letters": Command("streaming.cli.operate:dead_letters", "Records that could not be used."),
    "trace": Command("streaming.cli.trace:trace", "The way of clicks and slates, to OpenTelemetry."),
    "job": Command("streaming.cli.job:job", "Run a job of the stream: recommend, features or learn."),
    "serve": Command("streaming.cli.serve:serve", "Slates, events and models over HTTP."),
    "log": Command("streaming.cli.log:log", "The log of the feature rows that were scored."),
    "train-set": Command("streaming.cli.log:train_set", "Training examples from the log."),
    "parity": Command("streaming.cli.log:parity", "Whether every logged row can be made again to the bit."),
    "replay": Command("streaming.cli.log:replay", "A public log onto the topics."),
    "schemas": Command("streaming.cli.schemas:schemas", "JSON Schema, AsyncAPI and OpenAPI of all that is written."),
}
if importlib.util.find_spec("infra") is not None:  # a wheel has no servers to start and nothing to measure
    COMMANDS = importlib.import_module(CHECKOUT).COMMANDS | COMMANDS

app = root(__doc__, COMMANDS)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"rheostat {version('rheostat')}")
        raise typer.Exit


@app.callback()
def _of_all(
    topic_prefix: Annotated[
        str, typer.Option(envvar=PREFIX_VARIABLE, help="What the names of the deployment's topics begin with.")
    ] = "",
    client_properties: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            envvar=PROPERTIES_VARIABLE,
            help="How the Kafka cluster is reached, in the form of Kafka's --command-config.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    pass  # both are read by `_with_prefix`, whichever the command is


if __name__ == "__main__":
    app(prog_name="rheostat")
