"""Commands that turn the policies, and show what is and was in force."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from features.errors import PolicyError
from streaming.cli import evaluate, policy_file
from streaming.cli.group import fail, group
from streaming.cli.options import DATA, MODEL, AsJson, OnCluster, errors, own_name, print_json, printer, say, when
from streaming.config import Cluster
from streaming.jobs.options import Model
from streaming.schemas import DEFAULT_POLICY

if TYPE_CHECKING:
    from rich.console import Console

policy = group("What slates aim at, now and before.")

NOTHING = "-"
STAMPED = frozenset({"schema_version", "scope", "version", "author", "time_ms"})
_DEFAULTS = msgspec.to_builtins(DEFAULT_POLICY) | {"weights": None}
Scope = Annotated[str, typer.Option(help="global, experiment:NAME, surface:NAME, segment:NAME or merchant:NAME.")]
Author = Annotated[str | None, typer.Option(help="Who turns it.", show_default="you")]
Note = Annotated[str, typer.Option(help="Why, for whoever reads `policy history`.")]


@policy.command("get")
def policy_get(cluster: OnCluster, as_json: AsJson = False) -> None:
    """Print the policies that are in force, one a scope.

    Example: rheostat policy get --json
    """
    console = printer(as_json)
    policies = msgspec.to_builtins(list(history(cluster).table.policies.values()))
    show(policies, console)
    print_json(policies, as_json)


@policy.command("history")
def policyhistory(cluster: OnCluster, as_json: AsJson = False) -> None:
    """Print all policies that the topic still has, and which were taken back, oldest first.

    The topic keeps each for 30 days, and the newest for ever.

    Example: rheostat policy history
    """
    console = printer(as_json)
    policies = msgspec.to_builtins(history(cluster).turns)
    show(policies, console)
    print_json(policies, as_json)


@policy.command("set")
def policy_set(
    cluster: OnCluster,
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="YAML of a whole policy; without it, a turn.")
    ] = None,
    scope: Scope = "global",
    weight: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Of an objective; more than one.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(metavar="NAME=EXPRESSION", help="One of your own, over item.* and session.*.")
    ] = None,
    when_: Annotated[str | None, typer.Option("--when", help="What makes the segment, over session.*.")] = None,
    share: Annotated[float | None, typer.Option(help="Of the shoppers, for whom the experiment is.")] = None,
    diversity: Annotated[float | None, typer.Option(help="What an item loses that is like one before it.")] = None,
    satiation: Annotated[
        float | None, typer.Option(help="What an item loses for each click on its category lately.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Share of the impressions that may explore, at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of what explores.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Share of what explores that is drawn evenly.")] = None,
    author: Author = None,
    note: Note = "",
    if_version: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse it if the scope's policy is no longer this version; 0: if it has one."),
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Refuse it if the log says that it may be worse.")] = False,
    log: evaluate.Log = DATA,
    model: Model = MODEL,
    reward: evaluate.Reward = "clicks",
    margin: evaluate.Margin = 0.0,
    as_json: AsJson = False,
) -> None:
    """Turn what the next slates aim at, while the stream runs: a whole policy, or some numbers of the one in force.

    Example: rheostat policy set --weight relevance=0.3 --weight revenue=1 --diversity 0.2 --budget 0.1
    """
    from streaming.control.policies import begun, read_items, refuse_if_moved
    from streaming.policy.fields import refusal

    turned = history(cluster)
    in_force = turned.table.policies
    if file is not None:
        fields = policy_file.read(file)
    else:
        if why := refusal({"scope": scope}):
            fail(f"--{why}")
        fields = msgspec.to_builtins(in_force[scope]) if scope in in_force else begun(scope, turned.table)
        fields |= {"note": ""}  # of another turn
        exploring = {"budget": budget, "temperature": temperature, "epsilon": epsilon}
        explores = {name: value for name, value in exploring.items() if value is not None}
        options = (("diversity", diversity), ("when", when_), ("share", share))
        before = msgspec.json.encode(fields)
        fields["weights"] = fields.get("weights", {}) | {name: _number(text) for name, text in _pairs(weight)}
        fields["objectives"] = fields.get("objectives", {}) | {
            name: {"expression": text, "scale": _scale(text, cluster)} for name, text in _pairs(objective)
        }
        fields["exploration"] = fields.get("exploration", {}) | explores
        if satiation is not None:
            fields["satiation"] = fields.get("satiation", {}) | {"weight": satiation}
        fields |= {name: value for name, value in options if value is not None}
        if msgspec.json.encode(fields) == before:
            fail("nothing is turned; give a file or, among others, --weight NAME=NUMBER. All: `policy set --help`")
    turned_policy = policy_file.stamped(fields, turned.newest, author, str(file or "the policy"), note)
    if if_version is not None:
        refuse_if_moved(turned_policy.scope, if_version, turned.table)
    if gate and (why := evaluate.gate(turned_policy, turned.table, log, model, reward, margin, printer(as_json))):
        fail(f"the policy is refused at the gate, and what is in force stays: {why}")
    _write(turned_policy, turned, cluster, as_json)
    words = printer(as_json)
    if file is None and scope not in in_force:
        say(f"{scope} had no policy: it begins with that of {turned.table.shadowed(scope).scope}", words)
    for note in notes(turned_policy.scope, turned.table):
        say(note, words)
    if named := {item_id for rule in turned_policy.rules.values() for item_id in rule.items}:
        on_sale = {item.item_id for item in read_items(cluster)}
        if missing := sorted(named - on_sale):
            say(f"rules name items that the shop does not have, and do nothing with them: {', '.join(missing)}", words)


@policy.command("roll-back")
def policy_roll_back(
    cluster: OnCluster,
    version: Annotated[int, typer.Argument(help="As `policy history` has it.")],
    author: Author = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Put the policy of an earlier version in force again, in its scope, under a new version.

    Example: rheostat policy roll-back 3
    """
    from streaming.control import policies

    turned = history(cluster)
    fields = policies.before(version, turned)
    why = note or f"as version {version} was"
    _write(policy_file.stamped(fields, turned.newest, author, f"version {version}", why), turned, cluster, as_json)


@policy.command("remove")
def policy_remove(
    cluster: OnCluster,
    scope: Annotated[str, typer.Argument(help="As `policy get` has it.")],
    author: Author = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Take a scope's policy back: the next less specific one counts, and of `global` the default.

    Example: rheostat policy remove surface:home
    """
    from confluent_kafka import KafkaException

    from streaming.control.policies import remove

    with errors(KafkaException):
        removed = remove(scope, history(cluster).table, cluster, author or own_name(), note)
    say(f"{scope}: version {removed.version} is no longer in force", printer(as_json))
    print_json(removed, as_json)


def notes(scope: str, table: Any) -> list[str]:
    """Return what a turn of `scope` does not do, though one may think so."""
    from streaming.policy.surfaces import SURFACES
    from streaming.schemas import ScopeKind, split_scope

    said = []
    if ahead := table.ahead_of(scope):
        said.append(f"unchanged where these count instead of {scope}: {', '.join(ahead)}")
    kind, name = split_scope(scope)
    if kind is ScopeKind.SURFACE and name not in SURFACES | table.surfaces:
        said.append(f"no app is known to ask for the surface {name}; there are {', '.join(sorted(SURFACES))}")
    return said


def _write(policy: Any, turned: Any, cluster: Cluster, as_json: bool) -> None:
    from confluent_kafka import KafkaException

    from streaming.control import policies

    try:
        with errors(KafkaException):
            policies.write(policy, turned.table, cluster)
    except PolicyError as error:
        fail(f"the policy is refused: {error}")
    replaced = turned.table.policies.get(policy.scope)
    shown = [policy] if replaced is None else [replaced, policy]
    show(msgspec.to_builtins(shown), printer(as_json))
    print_json(policy, as_json)


def history(cluster: Cluster) -> Any:
    """Return the policies on the topic that were taken over, and those that are in force."""
    from confluent_kafka import KafkaException

    from streaming.control import policies

    with errors(KafkaException):
        return policies.read(cluster)


def _scale(expression: str, cluster: Cluster) -> float:
    """Return what an item of the shop has of the objective on average, so that 1 is an average item."""
    import numpy as np

    from streaming.control.catalogue import Catalogue, unknown_to_any_model
    from streaming.control.policies import read_items
    from streaming.policy.expression import SESSION_FIELDS, Expression

    items = read_items(cluster)
    catalogue = Catalogue(unknown_to_any_model([item.item_id for item in items]))
    for offset, item in enumerate(items):
        catalogue.put(item.item_id, item, offset)
    compiled = Expression(expression)
    columns = {name: getattr(catalogue, name)[1 : len(items) + 1] for name in compiled.item_fields}
    value = compiled(columns, dict.fromkeys(SESSION_FIELDS, 1.0))
    return float(np.abs(value).mean()) or 1.0 if value.size else 1.0


def _pairs(options: list[str] | None) -> list[tuple[str, str]]:
    pairs = [option.partition("=") for option in options or ()]
    if bad := [name for name, _, value in pairs if not name.strip() or not value.strip()]:
        fail(f"{bad[0]!r}: expected NAME=VALUE")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        fail(f"{text!r} is not a number")


def show(policies: list[dict[str, Any]], console: "Console") -> None:
    """Print each policy as a head and the fields that are not at their defaults: a table of them fits no terminal."""
    for record in policies:
        turned = NOTHING if record["time_ms"] is None else when(record["time_ms"])
        if "taken_back" in record:
            by = record["author"] or "somebody who has not said it"
            say(f"version {record['taken_back']}  {record['scope']}  was taken back  {turned}  by {by}", console)
            if record["note"]:
                say(f"  {'note':11}  {record['note']}", console)
            continue
        say(f"version {record['version']}  {record['scope']}  {turned}  by {record['author']}", console)
        for name, value in record.items():
            if name not in STAMPED and value != _DEFAULTS[name]:
                say(f"  {name:11}  {_words(value, name)}", console)


def _words(value: Any, name: str = "") -> str:
    if isinstance(value, dict):
        nested = any(isinstance(part, dict) for part in value.values())
        said = {key: part for key, part in value.items() if part is not None and part is not False and part != []}
        parts = [f"{key} {_words(part, key)}" for key, part in said.items()]
        return ("; " if nested else ", ").join(parts)
    if isinstance(value, (list, tuple)):
        return " ".join(map(_words, value))
    if name.endswith("_time_ms"):
        return when(value)
    return f"{value:g}" if isinstance(value, float) else f"{value}"
