"""A policy as an operator writes it: YAML without a version."""

import getpass
from pathlib import Path
from typing import Any

from streaming.cli.group import fail


def read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(f"{file} is not YAML: {error}")
    if not isinstance(fields, dict):
        fail(f"{file}: expected the fields of a policy (scope, weights, …), found {fields!r}")
    return fields


def stamped(fields: dict[str, Any], in_force: Any, author: str | None, source: str) -> Any:
    """Return the policy with the version after those in force, its author (you, without one) and the time.

    Args:
        fields: the fields of a policy.
        in_force: the PolicyTable.
        author: who turns it.
        source: where it comes from, for the message where it is wrong.
    """
    from features.errors import PolicyError
    from streaming.control.policies import stamped as stamp

    try:
        return stamp(fields, in_force, author or getpass.getuser())
    except PolicyError as error:
        fail(f"{source}: {error}")
