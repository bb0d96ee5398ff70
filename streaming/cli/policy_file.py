"""A policy as an operator writes it: YAML without a version."""

import getpass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from streaming.cli.console import fail


def read(file: Path) -> dict[str, Any]:
    try:
        asked = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(f"{file} is not YAML: {error}")
    if not isinstance(asked, dict):
        fail(f"{file}: expected the fields of a policy (scope, weights, …), found {asked!r}")
    return asked


def stamped(asked: dict[str, Any], in_force: int, author: str | None, source: str) -> Any:
    """Return the policy with the version after `in_force`, its author (you, without one) and the time.

    Args:
        asked: the fields of a policy.
        in_force: the highest version that is in force.
        author: who turns it.
        source: where it comes from, for the message where it is wrong.
    """
    from streaming.schemas import Policy, now_ms

    stamp = {"version": in_force + 1, "author": author or getpass.getuser(), "time_ms": now_ms()}
    try:
        return msgspec.convert(asked | stamp, Policy)
    except msgspec.ValidationError as error:
        fail(f"{source}: {error}")
