"""How commands hang together: which module has one, where its options come from, and how it ends.

Nothing here imports what a command needs: `rheostat --help` and a shell's completion answer at once.
"""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from features.errors import ConfigFileError, RheostatError
from streaming.config_file import Settings, config_option, defaults, settings_of, with_variables

SETTINGS = {"help_option_names": ["-h", "--help"]}


class Command(NamedTuple):
    """Where a command lies, as `module:attribute`, and the first line of its help."""

    where: str
    words: str


def group(help_: str) -> typer.Typer:
    """Return a group of commands, which ends with one message where an error of ours comes through."""
    return typer.Typer(
        cls=_Group, no_args_is_help=True, add_completion=False, help=help_, **_PLAIN, context_settings=SETTINGS
    )


def root(help_: str, commands: Mapping[str, Command]) -> typer.Typer:
    """Return the command of all commands, each imported when it is called."""

    class Root(_Root):
        table = commands

    return typer.Typer(cls=Root, no_args_is_help=True, help=help_, **_PLAIN, context_settings=SETTINGS)


# Plain: rich's panels cost a start more than all of its help, and waste a third of 80 columns.
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


def fail(words: str, cause: Exception | None = None) -> NoReturn:
    """Say what an operator can mend, and end with exit code 2."""
    typer.echo(f"rheostat: {words}", err=True)
    raise typer.Exit(2) from cause


class _Group(TyperGroup):
    """Ends any of its commands with one message where an error of our own came through: an operator can mend those."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RheostatError as error:
            fail(str(error), error)


def _take(ctx: Any, settings: Settings) -> None:
    for name in ("topic-prefix", "client-properties"):
        if name in settings.values:
            ctx.default_map = {**(ctx.default_map or {}), name.replace("-", "_"): settings.values[name]}


class _Root(_Group):
    table: Mapping[str, Command] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.insert(0, config_option(_take))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = self.table.get(cmd_name)
        if command is None:
            return None
        module, _, attribute = command.where.partition(":")
        what = getattr(importlib.import_module(module), attribute)
        if not isinstance(what, typer.Typer):
            of_one = group("")
            of_one.command(cmd_name)(what)
            of_one.callback()(lambda: None)
            return with_variables(typer.main.get_group(of_one).commands[cmd_name], cmd_name)
        return with_variables(typer.main.get_group(what), cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.words) for name, command in self.table.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        from typer._click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=command.words)
            for name, command in self.table.items()
            if name.startswith(incomplete)
        ] or super().shell_complete(ctx, incomplete)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, args)
        except ConfigFileError as error:
            fail(str(error), error)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.table and (alike := get_close_matches(args[0], self.table)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {alike[0]!r}?")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and (settings := settings_of(ctx)):
            ctx.default_map = {name: defaults(settings, name, command)}
        return name, command, rest
