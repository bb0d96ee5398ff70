"""How an experiment stands."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from streaming.cli.group import fail
from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say, when
from streaming.cli.policy import history
from streaming.config import Cluster

STANDS, NOBODY = "not clear yet", "-"


def experiment(
    name: Annotated[str, typer.Argument(help="Of the policy `experiment:NAME`.")],
    cluster: OnCluster,
    window_s: Annotated[float, typer.Option(min=1, help="From a shopper's first slate, in which it counts.")] = 1800.0,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of all intervals, whenever asked.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Compare the shoppers of an experiment with all others; one may look at any time, and stop when it is clear (A/B).

    Example: rheostat experiment bolder --window-s 600
    """
    from confluent_kafka import KafkaException

    from streaming.control.policies import read_items
    from streaming.offline.arms import arms
    from streaming.policy.experiment import AT_LEAST, compare
    from streaming.schemas import ScopeKind, scope_of, split_scope

    console = printer(as_json)
    in_force = history(cluster).table.policies
    scope = scope_of(ScopeKind.EXPERIMENT, name)
    policy = in_force.get(scope)
    if policy is None:
        others = [other for kind, other in map(split_scope, in_force) if kind is ScopeKind.EXPERIMENT]
        fail(
            f"no policy has the scope {scope}; experiments in force: {', '.join(others) or 'none'}. Begin "
            f"one with `rheostat policy set --scope {scope} --share 0.5 --weight …`"
        )
    with errors(KafkaException), console.status("reading outcomes …"):
        margins = {item.item_id: item.margin for item in read_items(cluster)}

        def margin_of(item_id: str) -> float:
            margin = margins.get(item_id)
            return 1.0 if margin is None else margin

        arms_of, suspicious = arms(
            _outcomes(cluster),
            name,
            policy.share,
            policy.time_ms or 0,
            round(window_s * 1000),
            margin_of,
        )
    treated = next(iter(arms_of.values())).treated
    shoppers = {"treated": int(treated.sum()), "control": int((~treated).sum())}
    table = Table("of a slate", "control", "treated", "difference", "", title=f"{scope}")
    figures: dict[str, Any] = {}
    for reward, of_arms in arms_of.items():
        compared = compare(of_arms, confidence)
        low, high = compared.difference.low, compared.difference.high
        verdict = "better" if low > 0 else "worse" if high < 0 else STANDS
        difference = _words(compared.difference.value, "+.4f")
        if math.isfinite(high):
            difference += f" ± {high - compared.difference.value:.4f}"
        table.add_row(reward, _words(compared.control), _words(compared.treated), difference, verdict)
        figures[reward] = compared._asdict() | {"verdict": verdict}
    console.print(table)
    say(
        f"{shoppers['treated']:,} shoppers with the experiment's policy, {shoppers['control']:,} without; "
        f"what came within {window_s:g} s of a shopper's first slate since {when(policy.time_ms or 0)} counts; "
        f"{confidence:.0%} intervals that hold whenever one looks, from {AT_LEAST} shoppers of each on",
        console,
    )
    if suspicious:
        say(
            f"{suspicious:,} places were sold at a price that no other comes near: no revenue of theirs counts", console
        )
    print_json(
        {
            "experiment": name,
            "share": policy.share,
            "window_s": window_s,
            "shoppers": shoppers,
            "suspicious_prices": suspicious,
            "rewards": figures,
        },
        as_json,
    )


def _words(value: float, form: str = ".4f") -> str:
    return NOBODY if math.isnan(value) else format(value, form)


def _outcomes(cluster: Cluster) -> Iterator[Any]:
    from streaming.io.topics import read_topic
    from streaming.records import decode_any
    from streaming.schemas import Outcome, Topic

    for origin, _, raw in read_topic(cluster, Topic.OUTCOMES):
        message = decode_any(raw or b"", origin)
        if isinstance(message, Outcome):
            yield message
