"""How an experiment stands."""

import math
from typing import Annotated

import typer

from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say, when
from streaming.cli.policy import history

NOBODY = "-"


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
    from rich.table import Table

    from streaming.offline.standing import standing
    from streaming.policy.experiment import AT_LEAST

    console = printer(as_json)
    table = history(cluster).table
    with errors(KafkaException), console.status("reading outcomes …"):
        stands = standing(name, cluster, table, window_s, confidence)
    shown = Table("of a slate", "control", "treated", "difference", "", title=f"experiment:{name}")
    for reward, of in stands.rewards.items():
        difference = _words(of.difference.value, "+.4f")
        if math.isfinite(of.difference.high):
            difference += f" ± {of.difference.high - of.difference.value:.4f}"
        shown.add_row(reward, _words(of.control), _words(of.treated), difference, of.verdict)
    console.print(shown)
    say(
        f"{stands.treated:,} shoppers with the experiment's policy, {stands.control:,} without; what came within "
        f"{window_s:g} s of a shopper's first slate since {when(stands.since_ms)} counts; {confidence:.0%} intervals "
        f"that hold whenever one looks, from {AT_LEAST} shoppers of each on",
        console,
    )
    if stands.suspicious_prices:
        say(
            f"{stands.suspicious_prices:,} places were sold at a price that no other comes near: no revenue of theirs "
            "counts",
            console,
        )
    print_json(
        {
            "experiment": name,
            "share": stands.share,
            "window_s": window_s,
            "shoppers": {"treated": stands.treated, "control": stands.control},
            "suspicious_prices": stands.suspicious_prices,
            "rewards": stands.rewards,
        },
        as_json,
    )


def _words(value: float, form: str = ".4f") -> str:
    return NOBODY if math.isnan(value) else format(value, form)
