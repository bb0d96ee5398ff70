"""The one file of settings, `rheostat.yaml`: one more default of every command's and every job's options.

    bootstrap-servers: kafka-1:9092      # on top: of every command and job
    job:
      checkpoints: /mnt/state/rheostat   # of every job
      recommend:
        parallelism: 4                   # of one
        flink:
          state.backend.type: rocksdb
    policy:
      set:
        author: merchandising

A key is an option without its dashes, and holds for whatever stands below it. The environment goes before the file, the
command line before both. Nothing secret is an option, so nothing secret stands in the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from typer.core import TyperOption

from features.errors import ConfigFileError

FILE, VARIABLE = Path("rheostat.yaml"), "RHEOSTAT_CONFIG"
ENVIRONMENT = "RHEOSTAT"
# Options that may stand on top: most commands have them.
COMMON = ("bootstrap-servers", "client-properties", "topic-prefix", "model", "home", "log", "json")
_SETTINGS = "rheostat.settings"  # where a context has what the file says


class Settings(NamedTuple):
    """What a file says."""

    path: Path
    values: Mapping[str, Any]  # by option, and for what stands below a command or a group by its name


def settings_of(context: Any) -> Settings | None:
    """Return what the file says, by Click's context of the command or of one below it; None where there is none."""
    settings: Settings | None = context.find_root().meta.get(_SETTINGS)
    return settings


def config_option(take: Any) -> TyperOption:
    """Return the option --config; `take(context, settings)` is called with what the file says, before other options.

    A file that cannot be used ends the command with a ConfigFileError.
    """

    def read(context: Any, _: Any, value: str | None) -> None:
        settings = context.meta[_SETTINGS] = read_settings(value)
        if settings is not None:
            take(context, settings)

    return TyperOption(
        param_decls=["--config"],
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=read,
        help=f"Defaults of all options; else {VARIABLE}, else {FILE} here.",
    )


def read_settings(named: str | None) -> Settings | None:
    """Return what the file says, None where there is none.

    Args:
        named: by --config; else VARIABLE names it, else it is FILE.

    Raises:
        ConfigFileError: it is named and not there, or is no map of YAML.
    """
    said = named or os.environ.get(VARIABLE)
    if not said and not FILE.exists():
        return None
    path = Path(said or FILE)
    import yaml  # where there is something to read

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{'--config' if named else VARIABLE} names {path}, which is not there"
        raise ConfigFileError(msg) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{path} cannot be read as YAML: {' '.join(str(error).split())}"
        raise ConfigFileError(msg) from error
    if values is None:
        return None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        msg = f"{path} is no map of options; expected lines like `bootstrap-servers: kafka:9092`"
        raise ConfigFileError(msg)
    return Settings(path, values)


def with_variables(command: Any, name: str) -> Any:
    """Let every option of a command be given by the environment, too: RHEOSTAT_POLICY_SET_AUTHOR."""
    command.name = name.rpartition(" ")[2]
    for parameter in command.params:
        option = max(parameter.opts, key=len)
        if option.startswith("--") and not parameter.envvar and option != "--help":
            parameter.envvar = "_".join([ENVIRONMENT, *f"{name} {option[2:]}".upper().replace("-", "_").split()])
            parameter.show_envvar = False  # each of them in each help would be noise
    for below in getattr(command, "commands", {}).values():
        with_variables(below, f"{name} {below.name}")
    return command


def defaults(settings: Settings, name: str, command: Any) -> dict[str, Any]:
    """Return the defaults of a command and of those below it, by the names of their parameters.

    Args:
        settings: of the file.
        name: of the command.
        command: Click's.

    Raises:
        ConfigFileError: the file names an option that nothing there has.
    """
    common = {key: value for key, value in settings.values.items() if not isinstance(value, dict)}
    if unknown := common.keys() - set(COMMON):
        words = f"on top may stand {', '.join(COMMON)}; others below their command"
        msg = f"{settings.path}: {', '.join(sorted(unknown))}: {words}"
        raise ConfigFileError(msg)
    try:
        return _defaults(common, settings.values.get(name), name, command)
    except ConfigFileError as error:
        msg = f"{settings.path}: {error}"
        raise ConfigFileError(msg) from None


def _defaults(common: Mapping[str, Any], own: Any, path: str, command: Any) -> dict[str, Any]:
    own = {} if own is None else own
    if not isinstance(own, dict):
        msg = f"{path} is {own!r}; expected the options of `rheostat {path.replace('.', ' ')}`, a line each"
        raise ConfigFileError(msg)
    below = getattr(command, "commands", {})
    names = {option.lstrip("-"): parameter.name for parameter in command.params for option in parameter.opts}
    everywhere = {option for of in below.values() for parameter in of.params for option in parameter.opts}
    shared = {option.lstrip("-") for option in everywhere}
    if unknown := own.keys() - names.keys() - below.keys() - shared:
        expected = ", ".join(sorted(name for name in {*below, *names, *shared} if len(name) > 1 and name != "help"))
        msg = f"{path} has {', '.join(sorted(unknown))}; expected one of {expected}"
        raise ConfigFileError(msg)
    of_all = {**common, **{key: value for key, value in own.items() if key not in below}}
    given = {names[key]: _value(value) for key, value in of_all.items() if key in names}
    return given | {name: _defaults(of_all, own.get(name), f"{path}.{name}", of) for name, of in below.items()}


def _value(value: Any) -> Any:
    """Return a value as the command line would have it: of a map, KEY=VALUE each."""
    return [f"{key}={_text(item)}" for key, item in value.items()] if isinstance(value, dict) else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
