"""Commands that turn the policies, and show what is and was in force."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from streaming.cli import evaluate, policy_file
from streaming.cli.console import DATA, MODEL, AsJson, Bootstrap, Model, errors, fail, group, print_json, when
from streaming.schemas import Measure

policy = group("What slates aim at, now and before.")

NOTHING = "-"
Scope = Annotated[str, typer.Option(help="global, experiment:NAME, surface:NAME, segment:NAME or merchant:NAME.")]
Author = Annotated[str | None, typer.Option(help="Who turns it.", show_default="you")]


@policy.command("get")
def policy_get(bootstrap_servers: Bootstrap, as_json: AsJson = False) -> None:
    """Print the policies that are in force, one a scope.

    Example: rheostat policy get --json
    """
    console = Console(stderr=as_json)
    found = list(history(bootstrap_servers)[1].values())
    _print(found, console)
    print_json(found, as_json)


@policy.command("history")
def policyhistory(bootstrap_servers: Bootstrap, as_json: AsJson = False) -> None:
    """Print all policies that the topic still has, oldest first; it keeps each for 30 days, and the newest for ever.

    Example: rheostat policy history
    """
    console = Console(stderr=as_json)
    found = history(bootstrap_servers)[0]
    _print(found, console)
    print_json(found, as_json)


@policy.command("set")
def policy_set(
    bootstrap_servers: Bootstrap,
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
    budget: Annotated[float | None, typer.Option(help="Share of the impressions that may explore, at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of what explores.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Share of what explores that is drawn evenly.")] = None,
    author: Author = None,
    gate: Annotated[bool, typer.Option("--gate", help="Refuse it if the log says that it may be worse.")] = False,
    log: evaluate.Log = DATA,
    model: Model = MODEL,
    reward: evaluate.Reward = Measure.CLICKS,
    margin: evaluate.Margin = 0.0,
    as_json: AsJson = False,
) -> None:
    """Turn what the next slates aim at, while the stream runs: a whole policy, or some numbers of the one in force.

    Example: rheostat policy set --weight relevance=0.3 --weight revenue=1 --diversity 0.2 --budget 0.1
    """
    from streaming.policy.table import PolicyTable
    from streaming.schemas import Policy

    _, in_force = history(bootstrap_servers)
    if file is not None:
        asked = policy_file.read(file)
    else:
        held = in_force.get(scope, {})
        asked = {"scope": scope} | {name: held[name] for name in held.keys() - {"version", "author", "time_ms"}}
        exploring = {"budget": budget, "temperature": temperature, "epsilon": epsilon}
        turned = {name: value for name, value in exploring.items() if value is not None}
        options = (("diversity", diversity), ("when", when_), ("share", share))
        before = msgspec.json.encode(asked)
        asked["weights"] = asked.get("weights", {}) | {name: _number(text) for name, text in _pairs(weight)}
        asked["objectives"] = asked.get("objectives", {}) | {
            name: {"expression": text, "scale": _scale(text, bootstrap_servers)} for name, text in _pairs(objective)
        }
        asked["exploration"] = asked.get("exploration", {}) | turned
        asked |= {name: value for name, value in options if value is not None}
        if msgspec.json.encode(asked) == before or (not held and not weight):
            fail("nothing is turned; give a file or, among others, --weight NAME=NUMBER. All: `policy set --help`")
    made = policy_file.stamped(asked, _highest(in_force), author, str(file or "the policy"))
    if gate:
        table = PolicyTable({scope: msgspec.convert(each, Policy) for scope, each in in_force.items()})
        if why := evaluate.refusal(made, table, log, model, reward, margin, Console(stderr=as_json)):
            fail(f"the policy is refused at the gate, and what is in force stays: {why}")
    _write(made, in_force, bootstrap_servers, as_json)


@policy.command("roll-back")
def policy_roll_back(
    bootstrap_servers: Bootstrap,
    version: Annotated[int, typer.Argument(help="As `policy history` has it.")],
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Put the policy of an earlier version in force again, in its scope, under a new version.

    Example: rheostat policy roll-back 3
    """
    from streaming.policy.table import is_controller

    written, in_force = history(bootstrap_servers)
    turns = {each["version"]: each for each in written if not is_controller(each["scope"])}
    if version not in turns:
        fail(f"the topic has no version {version}; it has {', '.join(map(str, turns)) or 'none'}")
    made = policy_file.stamped(turns[version], _highest(in_force), author, f"version {version}")
    _write(made, in_force, bootstrap_servers, as_json)


@policy.command("remove")
def policy_remove(
    bootstrap_servers: Bootstrap,
    scope: Annotated[str, typer.Argument(help="As `policy get` has it.")],
    as_json: AsJson = False,
) -> None:
    """Take a scope's policy back: the next less specific one counts, and of `global` the default.

    Example: rheostat policy remove surface:home
    """
    from streaming.io.feed import Feed
    from streaming.schemas import Topic

    _, in_force = history(bootstrap_servers)
    if scope not in in_force or in_force[scope]["author"] == "default":
        fail(f"{scope} has no policy; there are {', '.join(in_force)}")
    with errors(TimeoutError), Feed(bootstrap_servers) as feed:
        feed.raw(Topic.POLICIES, scope, None)
        feed.flush()
    removed = in_force.pop(scope)
    Console(stderr=as_json).print(f"{scope}: version {removed['version']} is no longer in force", markup=False)
    print_json(removed, as_json)


def _highest(in_force: dict[str, dict[str, Any]]) -> int:
    from streaming.policy.table import is_controller

    versions: list[int] = [each["version"] for scope, each in in_force.items() if not is_controller(scope)]
    return max(versions)


def _write(made: Any, in_force: dict[str, dict[str, Any]], bootstrap_servers: str, as_json: bool) -> None:
    from streaming.io.feed import Feed
    from streaming.policy.check import refusal
    from streaming.policy.table import is_controller

    if is_controller(made.scope):
        fail(f"{made.scope} is the job learn's; turn the constraints of the scope that it holds")
    names_one = made.scope.startswith("merchant:") or any(each.merchant for each in made.constraints.values())
    merchants = {each.merchant for each in items(bootstrap_servers)} if names_one else ()
    if why := refusal(made, _highest(in_force), merchants):
        fail(f"the policy is refused: {why}")
    with errors(TimeoutError), Feed(bootstrap_servers) as feed:
        feed.policy(made)
    if history(bootstrap_servers)[1].get(made.scope) != msgspec.to_builtins(made):
        fail("another policy was written at the same moment, and this one is refused; read it and turn it anew")
    before = [in_force[made.scope]] if made.scope in in_force else []
    _print([*before, msgspec.to_builtins(made)], Console(stderr=as_json))
    print_json(made, as_json)


def history(bootstrap_servers: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the policies on the topic that were taken over, oldest first, and by scope those that are in force."""
    from confluent_kafka import KafkaException

    from streaming.io.topics import TopicError, read_compacted
    from streaming.policy.check import take_over
    from streaming.policy.table import PolicyTable
    from streaming.schemas import Policy, Topic, decode

    table, written = PolicyTable(), list[Policy]()
    with errors(TopicError, KafkaException):
        for origin, key, raw in read_compacted(bootstrap_servers, [Topic.POLICIES]):
            scope = key.decode(errors="replace")
            message = decode(scope, raw, origin)
            if message is None or isinstance(message, Policy):
                found = take_over(table, scope, message)
                if isinstance(message, Policy) and isinstance(found, PolicyTable) and found is not table:
                    written.append(message)
                table = found if isinstance(found, PolicyTable) else table
    in_force = {scope: msgspec.to_builtins(each) for scope, each in table.policies.items()}
    return [msgspec.to_builtins(each) for each in written], in_force


def items(bootstrap_servers: str) -> list[Any]:
    from streaming.io.topics import read_compacted
    from streaming.schemas import Item, Topic, decode

    found: dict[str, Any] = {}
    for origin, key, raw in read_compacted(bootstrap_servers, [Topic.ITEMS]):
        found[key.decode(errors="replace")] = decode(key.decode(errors="replace"), raw, origin)
    return [each for each in found.values() if isinstance(each, Item)]


def _scale(expression: str, bootstrap_servers: str) -> float:
    """Return what an item of the shop has of the objective on average, so that 1 is an average item."""
    from streaming.policy.expression import SESSION_FIELDS, Expression, ExpressionError
    from streaming.scoring.catalogue import Catalogue, unknown_to_any_model

    found = items(bootstrap_servers)
    catalogue = Catalogue(unknown_to_any_model([each.item_id for each in found]))
    for offset, each in enumerate(found):
        catalogue.put(each.item_id, each, offset)
    with errors(ExpressionError):
        asked = Expression(expression)
    columns = {name: getattr(catalogue, name)[1 : len(found) + 1] for name in asked.item_fields}
    value = asked(columns, dict.fromkeys(SESSION_FIELDS, 1.0))
    return float(np.abs(value).mean()) or 1.0 if value.size else 1.0


def _pairs(options: list[str] | None) -> list[tuple[str, str]]:
    pairs = [each.partition("=") for each in options or ()]
    if bad := [name for name, _, value in pairs if not name.strip() or not value.strip()]:
        fail(f"{bad[0]!r}: expected NAME=VALUE")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        fail(f"{text!r} is not a number")


def _print(policies: list[dict[str, Any]], console: Console) -> None:
    table = Table("when", "scope", "version", "author", "weights", "diversity", "exploration")
    for each in policies:
        sign = "+" if each["duals"] else ""
        weights = ", ".join(f"{name} {value:{sign}g}" for name, value in (each["duals"] or each["weights"]).items())
        exploring = each["exploration"]
        explores = f"budget {exploring['budget']:g}, temperature {exploring['temperature']:g}"
        turned = NOTHING if each["time_ms"] is None else when(each["time_ms"])
        row = (turned, each["scope"], each["version"], each["author"], weights, each["diversity"])
        table.add_row(*[f"{value}" for value in row], explores if exploring["budget"] else NOTHING)
    console.print(table, markup=False)
