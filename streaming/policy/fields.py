"""What is wrong with the fields of a policy as a person wrote them: the key, what was found, what may stand there.

The jobs ignore fields that they do not know, so that they can read what a newer version writes; of a person they are a
slip, which would silently turn nothing.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from streaming.policy.objectives import NAMES
from streaming.policy.rules import BOOST
from streaming.schemas import Policy

# The command stamps them, or the job `learn`.
NOT_WRITTEN = frozenset({"schema_version", "version", "author", "time_ms", "note", "duals"})
SHOWN_AT_MOST = 60  # characters of what was found
RESERVED = frozenset({"diversity", "satiation", "exploration", "exposure"})
_WORDS = {"scope": "global, surface:NAME, segment:NAME, experiment:NAME or merchant:NAME"}


def refusal(fields: dict[str, Any]) -> str | None:
    """Return what is wrong with the fields of a policy, None where nothing is."""
    written = {name: value for name, value in fields.items() if name not in NOT_WRITTEN}
    kinds = get_type_hints(Policy, include_extras=True)
    known = {name: kind for name, kind in kinds.items() if name not in NOT_WRITTEN}
    return _of_fields(written, known, "") or _of_objectives(written)


def _of_objectives(fields: dict[str, Any]) -> str | None:
    if reserved := sorted(fields.get("objectives", {}).keys() & RESERVED):
        return f"objectives.{reserved[0]}: the parts of a slate's score have one of this name; give yours another"
    if like_rules := [name for name in fields.get("objectives", {}) if name.startswith(BOOST)]:
        return f"objectives.{like_rules[0]}: parts of this name are what rules add to a score; give yours another"
    known = {*NAMES, *fields.get("objectives", {})}
    for name in fields.get("weights", {}):
        if name not in known:
            return _unknown(f"weights.{name}", name, known, "objective")
    return None


def _of_fields(fields: dict[str, Any], known: dict[str, Any], path: str) -> str | None:
    for name, value in fields.items():
        if name not in known:
            return _unknown(f"{path}{name}", name, known, "field")
        if why := _of_value(value, known[name], f"{path}{name}"):
            return why
    return None


def _of_value(value: Any, kind: Any, path: str) -> str | None:
    if isinstance(value, dict):
        plain = _plain(kind)
        whys: Iterable[str | None] = ()
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            whys = (
                _of_fields(value, get_type_hints(plain, include_extras=True), f"{path}."),
                _missing(value, plain, path),
            )
        elif get_origin(plain) is dict:
            of_values = get_args(plain)[1]
            whys = (_of_value(part, of_values, f"{path}.{name}") for name, part in value.items())
        for why in filter(None, whys):
            return why
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if isinstance(value, dict):  # each of its values is right, so it is said as a whole
            return f"{path}: {str(error)[0].lower()}{str(error)[1:]}"
        found = repr(value)
        found = found if len(found) <= SHOWN_AT_MOST else f"{found[:SHOWN_AT_MOST]}…"
        return f"{path}: {found}; expected {_WORDS.get(path) or _expected(inspect.type_info(kind))}"
    return None


def _plain(kind: Any) -> Any:
    """Return the type of a field without its bounds, and without the null that may stand in its place."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) is UnionType:
        return _plain(next(one for one in get_args(kind) if one is not NoneType))
    return kind


def _missing(fields: dict[str, Any], kind: type[msgspec.Struct], path: str) -> str | None:
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in fields:
            return f"{path}.{field.name} is missing; expected {_expected(inspect.type_info(field.type))}"
    return None


def _unknown(path: str, name: Any, known: Any, what: str) -> str:
    alike = get_close_matches(str(name), known, 1)
    meant = f"; did you mean {alike[0]}?" if alike else "."
    return f"{path} is no {what}{meant} There are {', '.join(sorted(known))}"


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _expected(kind.type)
        case inspect.UnionType():
            return " or ".join(_expected(each) for each in kind.types if not isinstance(each, inspect.NoneType))
        case inspect.FloatType() | inspect.IntType():
            what = "a number" if isinstance(kind, inspect.FloatType) else "a whole number"
            low = f"from {kind.ge:g}" if kind.ge is not None else f"above {kind.gt:g}" if kind.gt is not None else ""
            high = f"to {kind.le:g}" if kind.le is not None else f"and below {kind.lt:g}" if kind.lt is not None else ""
            return " ".join(filter(None, (what, low, high)))
        case inspect.StrType():
            return f"a text of 1 to {kind.max_length} characters" if kind.max_length else "a text"
        case inspect.EnumType():
            return f"one of {', '.join(each.value for each in kind.cls)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.VarTupleType():
            return f"a list of at most {kind.max_length} entries, each {_expected(kind.item_type)}"
        case inspect.StructType():
            return f"the fields {', '.join(field.encode_name for field in kind.fields)}"
        case inspect.DictType():
            return f"lines NAME: {_expected(kind.value_type)}"
    return type(kind).__name__
