"""`rheostat explain`: why a slate is as it is, in words and bars."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from streaming.cli.options import MODEL, AsJson, Model, OnCluster, errors, fail, print_json, say, when
from streaming.cli.policy import history
from streaming.config import Cluster

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
    from streaming.records import decode_features, decode_request_record
    from streaming.schemas import Fallback, Recommendation, Topic
    from streaming.scoring.explain import Traced, session_of, trace
    from streaming.scoring.model import SessionModel

    console = Console(stderr=as_json)
    with console.status("looking for the slate …"):
        slate = _find(cluster, Topic.RECOMMENDATIONS, rec_id, msgspec.json.Decoder(Recommendation).decode)
        clicked: list[str] | None = None  # that the model was asked with
        if slate is not None and slate.request_id is not None:
            asked = _find(cluster, Topic.REQUEST_LOG, rec_id, decode_request_record)
            clicked = [*asked.clicked] if asked else None
        else:
            features = _find(cluster, Topic.FEATURE_LOG, rec_id, decode_features)
            clicked = session_of(features.row) if features else None
    if slate is None:
        fail(f"no slate on the topic `{Topic.RECOMMENDATIONS}` has the rec_id {rec_id}")
    if place > len(slate.slate):
        fail(f"--place {place}: the slate has {len(slate.slate)} items")
    item = slate.slate[place - 1]
    traced, known_to_model = Traced(item.predicted, []), None
    if clicked is not None and slate.fallback is Fallback.NONE:
        loaded = SessionModel(model)
        if loaded.manifest.model_version != slate.model_version:
            fail(
                f"the slate is of model {slate.model_version}, {model} is {loaded.manifest.model_version}; "
                "name the folder of the slate's with --model"
            )
        known_to_model = item.item_id in loaded.index_of
        if known_to_model:
            traced = trace(item.item_id, clicked, loaded)
    in_force = [
        policy
        for policy in history(cluster).written
        if policy.scope == slate.policy_scope and policy.version <= slate.policy_version
    ]
    policy = in_force[-1] if in_force else None
    explanation = {
        "rec_id": rec_id,
        "shopper_id": slate.shopper_id,
        "place": place,
        "item_id": item.item_id,
        "reason": item.reason,
        "score": item.score,
        "parts": item.parts,
        "propensity": item.propensity,
        "explored": item.reason == "explored",
        "exploration_rate": slate.exploration_rate,
        "uncertainty": slate.uncertainty,
        "policy_version": slate.policy_version,
        "policy_scope": slate.policy_scope,
        "policy": policy,
        "fallback": slate.fallback,
        "predicted": traced.predicted,
        "known_to_model": known_to_model,  # None: it was not asked
        "clicks": [click._asdict() for click in traced.clicks],
    }
    _print(explanation, slate.event_time_ms, console)
    print_json(explanation, as_json)


def _find(cluster: Cluster, topic: str, rec_id: str, decode: Callable[[bytes], Any]) -> Any:
    """Return the first record of a slate; one that was made again after a recovery comes later."""
    from confluent_kafka import KafkaException

    from streaming.io.topics import read_topic

    name = rec_id.encode()
    with errors(KafkaException):
        for _, _, raw in read_topic(cluster, topic):
            if raw is not None and name in raw:
                record = decode(raw)
                if record.rec_id == rec_id:
                    return record
    return None


def _print(explanation: dict[str, Any], event_time_ms: int, console: Console) -> None:
    say(
        f"{explanation['item_id']} stands at place {explanation['place']} of the slate for {explanation['shopper_id']} "
        f"({when(event_time_ms)}): {REASONS[explanation['reason']]}.",
        console,
    )
    policy = explanation["policy"]
    by = "the default policy" if policy is None else f"{policy.author}'s policy of version {policy.version}"
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
