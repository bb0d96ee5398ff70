"""The errors of this project's own: one tree, drawn as it is, and each ends a command with its message."""

import inspect
import re

import pytest
from typer.testing import CliRunner

from features import errors
from streaming.cli.group import group

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass)]


def test_the_tree_is_drawn_as_it_is() -> None:
    above: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ │├└─]+)(\w+Error)\b", line):
            indent, name = match.groups()
            depth = len(indent) // 4 - 1
            above[depth:] = [name]
            drawn[name] = above[depth - 1] if depth else "Exception"
    assert drawn == {error.__name__: error.__base__.__name__ for error in ALL if error.__base__ is not None}


@pytest.mark.parametrize("error", ALL)
def test_a_command_says_it_in_one_message_and_ends_with_2(error: type[errors.RheostatError]) -> None:
    app = group("A test.")

    @app.callback()
    def at_first() -> None:
        pass

    @app.command()
    def act() -> None:
        message = "what was found, and [what] to do"
        raise error(message)

    result = CliRunner().invoke(app, ["act"])
    assert (result.exit_code, result.stderr) == (2, "rheostat: what was found, and [what] to do\n")
