"""A policy as a person writes it: YAML without a version."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import yaml

from features.errors import PolicyError
from streaming.policy.fields import NOT_WRITTEN
from streaming.schemas import Policy

_TIME = "_time_ms"  # the end of the name of a field that is a moment


def parsed(text: str, source: str) -> dict[str, Any]:
    """Return the fields of a policy; moments as YAML has them are ms since 1970, without a zone UTC.

    Args:
        text: YAML.
        source: where it comes from, for the message where it is wrong.

    Raises:
        PolicyError: it is no YAML, or not that of fields, or has a key twice.
    """
    try:
        fields = yaml.safe_load(text)
        if (node := yaml.compose(text, yaml.SafeLoader)) is not None:
            _refuse_twins(node, source)
    except yaml.YAMLError as error:
        msg = f"{source} is not YAML: {error}"
        raise PolicyError(msg) from error
    if not isinstance(fields, dict):
        msg = f"{source}: expected the fields of a policy (scope, weights, …), found {fields!r}"
        raise PolicyError(msg)
    return {name: _in_ms(value, str(name)) for name, value in fields.items()}


def written(fields: dict[str, Any]) -> str:
    """Return the fields of a policy as YAML, without those that are at their defaults."""
    text: str = yaml.safe_dump(_said(fields), sort_keys=False, allow_unicode=True, width=100)
    return text


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    defaults = msgspec.json.decode(msgspec.json.encode(Policy(version=1, author="-")))
    said = {name: value for name, value in fields.items() if name not in NOT_WRITTEN and value != defaults.get(name)}
    return {"scope": fields.get("scope", "global"), "weights": fields.get("weights", {})} | {
        name: _as_moment(value, name) for name, value in said.items()
    }


def _in_ms(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _in_ms(part, str(key)) for key, part in value.items()}
    if name.endswith(_TIME) and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return value


def _as_moment(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if part is not None and part is not False and part != []}
        return {key: _as_moment(part, key) for key, part in kept.items()}
    if name.endswith(_TIME) and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value


def _refuse_twins(node: yaml.Node, source: str) -> None:
    """YAML keeps the last of a key that comes twice, and the first would be lost in silence."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in lines:
                msg = f"{source}, line {line}: {key.value} is there already, in line {lines[key.value]}: take one away"
                raise PolicyError(msg)
            lines[key.value] = line
            _refuse_twins(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_twins(value, source)
