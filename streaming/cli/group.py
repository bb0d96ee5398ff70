"""How commands hang together: which module has one, where its options come from, and how it ends.

Nothing here imports what a command needs: `rheostat --help` and a shell's completion answer at once.
"""

import importlib
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from features.errors import ConfigFileError, RheostatError

FILE, FILE_VARIABLE = Path("rheostat.toml"), "RHEOSTAT_CONFIG"
# Options that a file may name once for all commands that have them.
COMMON = ("bootstrap-servers", "topic-prefix", "model", "home", "log", "json")
SETTINGS = {"help_option_names": ["-h", "--help"]}
ENVIRONMENT = "RHEOSTAT"


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


class _Root(_Group):
    table: Mapping[str, Command] = {}

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
            return _with_variables(typer.main.get_group(of_one).commands[cmd_name], cmd_name)
        return _with_variables(typer.main.get_group(what), cmd_name)

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
            options = _options_of_file()
        except ConfigFileError as error:
            fail(str(error), error)
        if "topic-prefix" in options:
            ctx.default_map = {"topic_prefix": options["topic-prefix"]}
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.table and (alike := get_close_matches(args[0], self.table)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {alike[0]!r}?")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and (options := _options_of_file()):
            ctx.default_map = {name: defaults(options, name, command)}
        return name, command, rest


def _with_variables(command: Any, name: str) -> Any:
    """Let every option of a command be given by the environment, too: RHEOSTAT_POLICY_SET_AUTHOR."""
    command.name = name.rpartition(" ")[2]
    for parameter in command.params:
        option = max(parameter.opts, key=len)
        if option.startswith("--") and not parameter.envvar and option != "--help":
            parameter.envvar = "_".join([ENVIRONMENT, *f"{name} {option[2:]}".upper().replace("-", "_").split()])
            parameter.show_envvar = False  # each of them in each help would be noise
    for below in getattr(command, "commands", {}).values():
        _with_variables(below, f"{name} {below.name}")
    return command


def _file() -> Path:
    return Path(os.environ.get(FILE_VARIABLE) or FILE)


def _options_of_file() -> dict[str, Any]:
    """Return what the file of options says, nothing where there is none.

    Raises:
        ConfigFileError: it is named and not there, or is no TOML.
    """
    file = _file()
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not os.environ.get(FILE_VARIABLE):
            return {}
        msg = f"{FILE_VARIABLE} names {file}, which is not there"
        raise ConfigFileError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{file} cannot be read as TOML: {error}"
        raise ConfigFileError(msg) from error


def defaults(options: dict[str, Any], name: str, command: Any) -> dict[str, Any]:
    """Return the defaults of a command and of those below it, by the names of their parameters.

    Args:
        options: of the file: those of COMMON on top, `[policy.set]` for one command.
        name: of the command.
        command: Click's.

    Raises:
        ConfigFileError: it names an option that the command does not have.
    """
    common = {key: value for key, value in options.items() if not isinstance(value, dict)}
    if unknown := common.keys() - set(COMMON):
        msg = f"{_file()}: {', '.join(sorted(unknown))}: on top may stand {', '.join(COMMON)}; others below [COMMAND]"
        raise ConfigFileError(msg)
    return _defaults(common, options.get(name, {}), name, command)


def _defaults(common: dict[str, Any], own: dict[str, Any], path: str, command: Any) -> dict[str, Any]:
    below = getattr(command, "commands", {})
    names = {option.lstrip("-"): parameter.name for parameter in command.params for option in parameter.opts}
    if unknown := own.keys() - names.keys() - below.keys():
        expected = ", ".join(sorted(name for name in (*below, *names) if len(name) > 1 and name != "help"))
        msg = f"{_file()}: [{path}] has {', '.join(sorted(unknown))}; expected one of {expected}"
        raise ConfigFileError(msg)
    given = {names[key]: value for key, value in {**common, **own}.items() if key in names}
    return given | {key: _defaults(common, own.get(key, {}), f"{path}.{key}", below[key]) for key in below}
