"""`rheostat explain`: why a slate is as it is, in words and bars."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from streaming.cli.options import MODEL, AsJson, Model, OnCluster, errors, print_json, printer, say, when

BAR = 24  # characters of the longest bar
CLICKS_SHOWN = 5
REASONS = {
    "relevant": "it fits what was clicked in this session",
    "likely_to_be_bought": "it is likely to be bought",
    "earns": "of what may be bought it earns most",
    "new_to_shopper": "it is little known and new to the shopper",
    "popular": "it is popular; the model knows nothing of the session",
    "matches": "it matches what was asked for",
    "sponsored": "it is paid for",
    "exposure": "its merchant is to be shown more",
    "operator": "an objective of the operator's speaks for it",
    "explored": "it was tried, to learn what becomes of it",
}


def explain(
    rec_id: Annotated[str, typer.Argument(help="Of the slate.")],
    cluster: OnCluster,
    place: Annotated[int, typer.Option(min=1, help="Of the item in the slate.")] = 1,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Say why an item stands at its place: the parts of its score, the policy, the clicks that mattered.

    Example: rheostat explain 4f1d... --place 3
    """
    from confluent_kafka import KafkaException

    from streaming.offline.explanation import explanation
    from streaming.scoring.model import SessionModel

    console = printer(as_json)
    with errors(KafkaException), console.status("looking for the slate …"):
        explained = explanation(rec_id, place, cluster, lambda: SessionModel(model))
    fields = msgspec.to_builtins(explained)
    _print(fields, explained.event_time_ms, console)
    print_json(fields, as_json)


def _print(explanation: dict[str, Any], event_time_ms: int, console: Console) -> None:
    say(
        f"{explanation['item_id']} stands at place {explanation['place']} of the slate for {explanation['shopper_id']} "
        f"({when(event_time_ms)}): {REASONS[explanation['reason']]}.",
        console,
    )
    policy = explanation["policy"]
    by = "the default policy" if policy is None else f"{policy['author']}'s policy of version {policy['version']}"
    explored = (
        f"Places explore with chance {explanation['exploration_rate']:.1%}; " if explanation["exploration_rate"] else ""
    )
    say(
        f"It was weighed by {by} ({explanation['policy_scope']}). {explored}this item had the chance "
        f"{explanation['propensity']:.3g} of its place, given those before it.",
        console,
    )
    console.print(
        _bars("The score", [(name, part) for name, part in explanation["parts"].items()], explanation["score"])
    )
    clicks = [
        (f"{click['item_id']} (click {click['place']})", click["change"])
        for click in explanation["clicks"][:CLICKS_SHOWN]
    ]
    if clicks:
        title = f"P(clicked) is {explanation['predicted']:.1%} with the whole session; without a click it changes by"
        console.print(_bars(title, [(name, -change) for name, change in clicks], None))
    elif explanation["known_to_model"] is False:
        say(
            "No click is named: the model does not know the item, which stands for the candidate it is most like.",
            console,
        )
    elif explanation["fallback"] != "none":
        say(f"No click mattered: the model was not asked ({explanation['fallback']}).", console)


def _bars(title: str, rows: list[tuple[str, float]], total: float | None) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    longest = max([abs(value) for _, value in rows] or [1.0]) or 1.0
    for name, value in rows:
        table.add_row(name, f"{value:+.4f}", ("█" if value >= 0 else "▒") * round(BAR * abs(value) / longest))
    if total is not None:
        table.add_row("score", f"{total:+.4f}", "")
    return table
