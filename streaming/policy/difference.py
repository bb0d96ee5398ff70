"""What a policy says that another one does not, field by field. Pure."""

from typing import Any, NamedTuple

import msgspec

from streaming.schemas import DEFAULT_POLICY, Policy

_STAMPED = frozenset({"schema_version", "scope", "version", "author", "time_ms", "note"})


class Change(NamedTuple):
    field: str  # as `exploration.budget`
    before: Any  # None: it was not there
    after: Any  # None: it is no longer there


def differences(before: Policy | None, after: Policy | None) -> list[Change]:
    """Return what differs, by field; of a scope that had no policy, or has none now, from one at its defaults."""
    old, new = _flat(before), _flat(after)
    names = dict.fromkeys([*old, *new])  # in the order of the fields
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _flat(policy: Policy | None) -> dict[str, Any]:
    fields = msgspec.to_builtins(policy or DEFAULT_POLICY)
    weights = {} if policy is None else fields["weights"]
    fields["weights"] = {name: weight for name, weight in weights.items() if weight}  # 0 is what is left out has
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _STAMPED:
            _put(flat, name, value)
    return flat


def _put(flat: dict[str, Any], path: str, value: Any) -> None:
    if isinstance(value, dict):
        for name, part in value.items():
            _put(flat, f"{path}.{name}", part)
    elif isinstance(value, list):
        if value:
            flat[path] = value
    elif value is not None:
        flat[path] = value
