"""`python -m infra.docs.configuration > docs/configuration.md`: every key of rheostat.yaml, from the commands."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from streaming.cli.main import COMMANDS
from streaming.config_file import COMMON, with_variables

_LEAD = """\
# Configuration

For platform teams: every key of `rheostat.yaml`, with its default and what it does. Made from the code by `make docs`.

The file lies where a command or a job is started, or where `--config` or the variable `RHEOSTAT_CONFIG` says. Each key
is an option without its dashes, and holds for all that stands below it. **The command line goes before the environment,
and that before the file**; the variable of `recommend`'s `parallelism` is `RHEOSTAT_JOB_RECOMMEND_PARALLELISM`, of the
others likewise. A key that nothing has is refused. **Secrets are no options**: they come from files or the environment.

```yaml
bootstrap-servers: kafka-1:9092       # of every command and job
topic-prefix: shop-a.                 # what topics and groups of this deployment begin with
job:                                  # of all jobs
  checkpoints: file:///state/rheostat
  flink:
    state.backend.type: rocksdb
  recommend:                          # of one
    model: /models/mine
    parallelism: 4
policy:
  set:
    author: merchandising
```

The jobs take the file as `rheostat job recommend`, as `python -m streaming.jobs.recommend` and on a cluster, where it
has to lie with whoever submits them. `(none)`: nothing is set.
"""


_OF_A_WHEEL = [name for name, command in COMMANDS.items() if command.where.startswith("streaming.")]


def page() -> str:
    """Return the page."""
    job = _command("job")
    of_jobs = [_options(job.commands[name]) for name in ("recommend", "features", "learn")]
    shared = {key: row for key, row in of_jobs[0].items() if all(key in options for options in of_jobs)}
    sections = [("On top", {key: row for key, row in _of_all().items() if key in COMMON}), ("job", shared)]
    for name in _OF_A_WHEEL:
        for path, command in _commands(name, _command(name)):
            options = _options(command)
            if path.partition(".")[2] in ("recommend", "features", "learn"):
                options = {key: row for key, row in options.items() if key not in shared}
            sections.append((path, options))
    return _LEAD + "".join(_section(title, rows) for title, rows in sections if rows)


def _of_all() -> Mapping[str, tuple[str, str]]:
    options: dict[str, tuple[str, str]] = {}
    for name in _OF_A_WHEEL:
        for _, command in _commands(name, _command(name)):
            options |= {key: row for key, row in _options(command).items() if key not in options}
    return options


def _command(name: str) -> Any:
    module, _, attribute = COMMANDS[name].where.partition(":")
    what = getattr(importlib.import_module(module), attribute)
    if not isinstance(what, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name)(what)
        what = app
    return with_variables(typer.main.get_command(what), name)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, of in below.items():
        yield from _commands(f"{path}.{name}", of)


def _options(command: Any) -> dict[str, tuple[str, str]]:
    rows = {}
    for parameter in command.params:
        name = max(parameter.opts, key=len)
        if name.startswith("--") and name not in ("--help", "--install-completion", "--show-completion", "--config"):
            rows[name.removeprefix("--")] = (_default(parameter), " ".join((parameter.help or "").split()))
    return rows


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    default = parameter.default
    if default is None or default == "" or callable(default):
        return "(none)"
    if isinstance(default, bool):
        return f"{default}".lower()
    return f"`{getattr(default, 'value', default)}`"


def _section(title: str, rows: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"\n## {title}\n", "| key | default | what |", "|---|---|---|"]
    lines += [f"| `{key}` | {default} | {words.replace('|', '&#124;')} |" for key, (default, words) in rows.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
