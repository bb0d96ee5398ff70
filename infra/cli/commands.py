"""The commands that need a checkout: they start servers, measure, or train. They add themselves to `rheostat`."""

import typer

from infra.cli.bench import bench
from infra.cli.local import demo, doctor, down, status, traffic, up


def register(app: typer.Typer) -> None:
    for command in (up, down, status, doctor, demo, traffic):
        app.command()(command)
    app.add_typer(bench, name="bench")
