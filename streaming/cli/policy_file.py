"""A policy as an operator writes it, in a file."""

from pathlib import Path
from typing import Any

from streaming.cli.group import fail
from streaming.cli.options import own_name


def read(file: Path) -> dict[str, Any]:
    """Return the fields of a policy."""
    from features.errors import PolicyError
    from streaming.control.policy_text import parsed

    try:
        return parsed(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        fail(f"{file} is not YAML: {error}")
    except PolicyError as error:
        fail(str(error))


def stamped(fields: dict[str, Any], newest: int, author: str | None, source: str, note: str = "") -> Any:
    """Return the policy with the version after the newest, its author (you, without one) and the time.

    Args:
        fields: the fields of a policy.
        newest: version.
        author: who turns it.
        source: where it comes from, for the message where it is wrong.
        note: why it is turned; without one that of the file, if it has one.
    """
    from features.errors import PolicyError
    from streaming.control.policies import stamped as stamp

    try:
        return stamp(fields, newest, author or own_name(), note or fields.get("note", ""))
    except PolicyError as error:
        fail(f"{source}: {error}")
