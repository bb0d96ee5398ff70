"""The command `rheostat`: everything that is done with the jobs and their data.

Exit codes: 0 done; 1 the answer is no; 2 it could not be done, and one message says why; 130 interrupted.
"""

from streaming.cli.bench import bench
from streaming.cli.console import group, on_topics
from streaming.cli.evaluate import evaluate
from streaming.cli.experiment import experiment
from streaming.cli.explain import explain
from streaming.cli.local import demo, doctor, down, status, traffic, up
from streaming.cli.log import log, parity, replay, train_set
from streaming.cli.operate import dead_letters, features, watch
from streaming.cli.policy import policy
from streaming.cli.web import console

# What a sub-command needs is imported when it runs: Feast alone takes seconds.
app = group(__doc__)
app.callback()(on_topics)
for command in (up, down, status, doctor, demo, traffic, replay, watch, explain, evaluate, experiment, console, parity):
    app.command()(command)
app.command("train-set")(train_set)
app.add_typer(policy, name="policy")
app.add_typer(features, name="features")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(log, name="log")
app.add_typer(bench, name="bench")

if __name__ == "__main__":
    app(prog_name="rheostat")
