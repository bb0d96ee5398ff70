"""The command `rheostat`: everything that is done with the jobs and their data.

Exit codes: 0 done; 1 the answer is no; 2 it could not be done, and one message says why; 130 interrupted.
"""

import importlib
import importlib.util

from streaming.cli.console import console
from streaming.cli.evaluate import evaluate
from streaming.cli.experiment import experiment
from streaming.cli.explain import explain
from streaming.cli.items import items
from streaming.cli.log import log, parity, replay, train_set
from streaming.cli.operate import dead_letters, features, watch
from streaming.cli.options import group, on_topics
from streaming.cli.policy import policy
from streaming.cli.schemas import schemas
from streaming.cli.serve import serve

CHECKOUT = "infra.cli.commands"

# What a sub-command needs is imported when it runs: Feast alone takes seconds.
app = group(__doc__)
app.callback()(on_topics)
if importlib.util.find_spec("infra") is not None:  # a wheel has no servers to start and nothing to measure
    importlib.import_module(CHECKOUT).register(app)
for command in (replay, watch, explain, evaluate, experiment, console, serve, parity, schemas):
    app.command()(command)
app.command("train-set")(train_set)
app.add_typer(policy, name="policy")
app.add_typer(features, name="features")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(log, name="log")
app.add_typer(items, name="items")

if __name__ == "__main__":
    app(prog_name="rheostat")
