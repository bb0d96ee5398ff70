"""A policy as an operator writes it: YAML without a version."""

import getpass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from streaming.cli.group import fail


def read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        fields = yaml.safe_load(text)
        if (node := yaml.compose(text, yaml.SafeLoader)) is not None:
            _refuse_twins(node, file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(f"{file} is not YAML: {error}")
    if not isinstance(fields, dict):
        fail(f"{file}: expected the fields of a policy (scope, weights, …), found {fields!r}")
    return {name: _times_in_ms(value, name) for name, value in fields.items()}


def _times_in_ms(value: Any, name: str) -> Any:
    """Return a moment as YAML has it in ms since 1970, where that is asked for; without a zone it is UTC."""
    if isinstance(value, dict):
        return {key: _times_in_ms(part, str(key)) for key, part in value.items()}
    if name.endswith("_time_ms") and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return value


def _refuse_twins(node: Any, file: Path) -> None:
    """End where a key comes twice: YAML keeps the last one, and the first would be lost in silence."""
    if node.id == "mapping":
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in lines:
                fail(f"{file}, line {line}: {key.value} is there already, in line {lines[key.value]}: take one away")
            lines[key.value] = line
            _refuse_twins(value, file)
    elif node.id == "sequence":
        for value in node.value:
            _refuse_twins(value, file)


def stamped(fields: dict[str, Any], in_force: Any, author: str | None, source: str, note: str = "") -> Any:
    """Return the policy with the version after those in force, its author (you, without one) and the time.

    Args:
        fields: the fields of a policy.
        in_force: the PolicyTable.
        author: who turns it.
        source: where it comes from, for the message where it is wrong.
        note: why it is turned; without one that of the file, if it has one.
    """
    from features.errors import PolicyError
    from streaming.control.policies import stamped as stamp

    try:
        return stamp(fields, in_force, author or getpass.getuser(), note or fields.get("note", ""))
    except PolicyError as error:
        fail(f"{source}: {error}")
