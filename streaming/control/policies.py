"""The topic `policies` for people: what is and was in force, and how another turn gets onto it."""

from typing import Any, NamedTuple

import msgspec

from features.errors import PolicyError, PolicyMovedError
from streaming.config import Cluster
from streaming.control.item_records import newest_items
from streaming.io.feed import Feed
from streaming.io.topics import Headers, read_compacted, read_compacted_with_headers
from streaming.policy import fields as fields_of
from streaming.policy.check import apply_policy, validate
from streaming.policy.objectives import NAMES
from streaming.policy.table import PolicyTable, is_controller
from streaming.records import decode, now_ms
from streaming.schemas import Item, Policy, ScopeKind, Topic, split_scope


class TakenBack(msgspec.Struct, frozen=True):
    """That a scope's policy was taken back: a tombstone, whose headers say who did it and why."""

    scope: str
    taken_back: int  # version of the policy that counted until then
    author: str = ""  # empty: whoever wrote the tombstone has not said it
    note: str = ""
    time_ms: int | None = None


class Turned(NamedTuple):
    turns: list[Policy | TakenBack]  # that the topic still has and that were taken over, oldest first
    table: PolicyTable  # in force

    @property
    def written(self) -> list[Policy]:
        return [turn for turn in self.turns if isinstance(turn, Policy)]

    @property
    def newest(self) -> int:
        """The newest version that anybody has given. That of a policy which was taken back does not come again."""
        turns = [turn for turn in self.turns if not is_controller(turn.scope)]
        versions = [turn.version if isinstance(turn, Policy) else turn.taken_back for turn in turns]
        return max([self.table.version, *versions])


def read(cluster: Cluster) -> Turned:
    """Return what is and was in force.

    Raises:
        TopicError: there is no such topic.
        KafkaException: the broker is not there.
    """
    turned = Turned([], PolicyTable())
    for (origin, key, raw), headers in read_compacted_with_headers(cluster, [Topic.POLICIES]):
        scope = key.decode(errors="replace")
        message = decode(scope, raw, origin)
        if message is None or isinstance(message, Policy):
            turned = taken(turned, scope, message, headers)
    return turned


def taken(turned: Turned, scope: str, policy: Policy | None, headers: Headers) -> Turned:
    """Return what is in force after the newest record of a scope, None for a tombstone; refused changes none."""
    table = apply_policy(turned.table, scope, policy)
    if isinstance(table, str) or table is turned.table:
        return turned
    version = version_of(scope, turned.table)
    if policy is None and not version:
        return Turned(turned.turns, table)
    return Turned([*turned.turns, policy or _taken_back(scope, version, headers)], table)


def _taken_back(scope: str, version: int, headers: Headers) -> TakenBack:
    said = {name: headers[name] for name in ("author", "note", "time_ms") if name in headers}
    try:
        return msgspec.convert({**said, "scope": scope, "taken_back": version}, TakenBack, strict=False)
    except msgspec.ValidationError:  # headers of somebody else, under names of ours
        return TakenBack(scope, version)


def read_items(cluster: Cluster) -> list[Item]:
    """Return the items that the shop has now.

    Raises:
        TopicError: there is no such topic.
        KafkaException: the broker is not there.
    """
    return [*newest_items(read_compacted(cluster, [Topic.ITEMS]))[0].values()]


def begun(scope: str, table: PolicyTable) -> dict[str, Any]:
    """Return the fields with which a scope without a policy begins: those of the policy that it will shadow.

    A policy counts as a whole: one that began with nothing would take away all that it does not name.
    """
    kind, _ = split_scope(scope)
    fields: dict[str, Any] = msgspec.to_builtins(table.shadowed(scope))
    kept = {"weights", "objectives"} if kind is ScopeKind.MERCHANT else fields.keys() - fields_of.NOT_WRITTEN
    if kind not in (ScopeKind.GLOBAL, ScopeKind.SURFACE):  # constraints are held for all slates or for a surface
        kept -= {"constraints"}
    if kind is ScopeKind.MERCHANT:
        fields["objectives"] = {}
        fields["weights"] = {name: value for name, value in fields["weights"].items() if name in NAMES}
    return {name: fields[name] for name in fields if name in kept} | {"scope": scope}


def stamped(fields: dict[str, Any], newest: int, author: str, note: str = "") -> Policy:
    """Return the policy with the version after the newest, its author, why it is turned, and the time.

    Raises:
        PolicyError: a field is not as it must be.
    """
    if why := fields_of.refusal(fields):
        raise PolicyError(why)
    stamp = {"version": newest + 1, "author": author, "time_ms": now_ms(), "note": note}
    try:
        return msgspec.convert(fields | stamp, Policy)
    except msgspec.ValidationError as error:
        raise PolicyError(str(error)) from error


def version_of(scope: str, table: PolicyTable) -> int:
    """Return the version of a scope's policy, 0 where it has none that somebody wrote."""
    written = table.written(scope)
    return 0 if written is None else written.version


def refuse_if_moved(scope: str, based_on: int, table: PolicyTable) -> None:
    """Raise PolicyMovedError where the scope's policy is no longer the one that a change was made from.

    Args:
        scope: of the policy.
        based_on: its version then, 0 for none.
        table: what is in force now.
    """
    if (now := version_of(scope, table)) != based_on:
        written = table.written(scope)
        by = f"is at version {now}, which {written.author} turned" if written else "has no policy any more"
        msg = f"{scope} {by}; the change was made from version {based_on}. Look at what is in force, and turn it anew"
        raise PolicyMovedError(msg)


def write(policy: Policy, in_force: PolicyTable, cluster: Cluster) -> None:
    """Put a policy into force.

    Raises:
        PolicyError: it cannot be used, or another one was written at the same moment.
        TopicError: a topic is not there.
        KafkaException: the broker is not there.
        DeliveryError: it did not take the record; the message says why.
    """
    if is_controller(policy.scope):
        msg = f"{policy.scope} is the job learn's; turn the constraints of the scope that it holds"
        raise PolicyError(msg)
    names_one = split_scope(policy.scope)[0] is ScopeKind.MERCHANT or any(
        constraint.merchant for constraint in policy.constraints.values()
    )
    merchants = {item.merchant or "" for item in read_items(cluster)} if names_one else set[str]()
    if why := validate(policy, in_force.version, merchants):
        raise PolicyError(why)
    with Feed(cluster) as feed:
        feed.policy(policy)
    if read(cluster).table.policies.get(policy.scope) != policy:
        msg = "another policy was written at the same moment, and this one is refused; read it and turn it anew"
        raise PolicyError(msg)


def remove(scope: str, in_force: PolicyTable, cluster: Cluster, author: str, note: str = "") -> Policy:
    """Take a scope's policy back, and return it: the next less specific one counts, and of `global` the default.

    A tombstone has no value that could say by whom and why: its headers do.

    Raises:
        PolicyError: it has none that somebody wrote.
        TopicError: the topic is not there.
        KafkaException: the broker is not there.
        DeliveryError: it did not take the record; the message says why.
    """
    removed = in_force.written(scope)
    if removed is None or is_controller(scope):
        msg = f"{scope} has no policy; there are {', '.join(in_force.policies)}"
        raise PolicyError(msg)
    with Feed(cluster) as feed:
        feed.raw(Topic.POLICIES, scope, None, {"author": author, "note": note, "time_ms": f"{now_ms()}"})
        feed.flush()
    return removed


def before(version: int, turned: Turned) -> dict[str, Any]:
    """Return the fields of an earlier version, to be stamped and written again.

    Raises:
        PolicyError: the topic no longer has it.
    """
    turns = {policy.version: policy for policy in turned.written if not is_controller(policy.scope)}
    if version not in turns:
        msg = f"the topic has no version {version}; it has {', '.join(map(str, turns)) or 'none'}"
        raise PolicyError(msg)
    fields: dict[str, Any] = msgspec.to_builtins(turns[version])
    return fields
