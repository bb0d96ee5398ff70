"""Records without a job."""

from collections.abc import Sequence

import msgspec
import numpy as np
from support.oracle import Shop

from features import shopper
from features.extraction import extract_row
from features.interaction import Interaction, Kind
from features.spec import SPEC_VERSION
from streaming.policy.estimates import LEVELS
from streaming.policy.experiment import is_treated
from streaming.schemas import (
    Click,
    ClickKind,
    Estimates,
    Fallback,
    FeatureRecord,
    Impression,
    LevelEstimate,
    LoggedCandidates,
    Origin,
    Outcome,
    OutcomeItem,
    Purchase,
    ReasonCode,
    Recommendation,
    SlateItem,
    Topic,
)


def feature_record(
    interactions: Sequence[Interaction], created_time_us: int = 0, n: int = 0, profile: str = "profiles[0]@0"
) -> FeatureRecord:
    """Return the record that the last of a shopper's `interactions` leads to, Feast having been asked."""
    state, last = shopper.new(), interactions[-1]
    for interaction in interactions:
        state = shopper.update(state, interaction)
    shopper_view = shopper.view(state)
    return FeatureRecord(
        rec_id=f"rec-{last.event_id}",
        event_id=last.event_id,
        origin=Origin(Topic.CLICKS, 0, n),
        item_id=last.item_id,
        kind=last.kind,
        interaction_time_ms=last.event_time_ms,
        value=last.value,
        quantity=last.quantity,
        sequence=state.sequence,
        created_time_us=created_time_us or last.event_time_ms * 1000,
        items_offset=-1,
        profile=profile,
        spec_version=SPEC_VERSION,
        row=extract_row(last.shopper_id, shopper_view, Shop()),
        profile_state=msgspec.msgpack.encode(shopper_view.profile),
        session_vector=np.arange(4, dtype="<f4").tobytes(),
        considered=LoggedCandidates(
            new_items=(),
            fallback=Fallback.EMPTY_SESSION,
            estimates_version=0,
            intercept=0.0,
            slope=1.0,
            click_rate=0.1,
        ),
        model_version="model-1",
    )


def views(shopper_id: str, *times_ms: int) -> list[Interaction]:
    return [
        Interaction(f"{shopper_id}-e{n}", shopper_id, "x", f"i{n % 9}", Kind.VIEW, time_ms, "tea")
        for n, time_ms in enumerate(times_ms)
    ]


def recommendation(rec_id: str, items: Sequence[str], event_time_ms: int, predicted: float = 0.1) -> Recommendation:
    """Return a slate that was made without exploration."""
    slate = [SlateItem(item, 1.0, {"relevance": 1.0}, ReasonCode.RELEVANT, 1.0, predicted) for item in items]
    return Recommendation(
        rec_id=rec_id,
        surface="home",
        shopper_id="s",
        event_id=f"event-of-{rec_id}",
        origin=Origin(Topic.CLICKS, 0, 0),
        event_time_ms=event_time_ms,
        emitted_time_ms=event_time_ms,
        slate=tuple(slate),
        fallback=Fallback.NONE,
        policy_version=3,
        policy_scope="global",
        estimates_version=0,
        propensity=1.0,
        exploration_rate=0.0,
        uncertainty=0.0,
        model_version="model-1",
    )


def estimates(**learnt: object) -> Estimates:
    """Return what is learnt, where nothing is but `learnt`."""
    prior = Estimates(
        version=1,
        time_ms=1_700_000_000_000,
        model_version="model-1",
        intercept=0.0,
        slope=1.0,
        click_rate=0.1,
        buy_rate=0.05,
        looked=(1.0,),
        prior_spread=0.4,
        levels=(LevelEstimate(1.0, 1.0),) * LEVELS,
        items={},
    )
    return msgspec.structs.replace(prior, **learnt)


def impression(rec_id: str, items: Sequence[str], event_time_ms: int) -> Impression:
    return Impression(rec_id=rec_id, shopper_id="s", items=tuple(items), event_time_ms=event_time_ms)


def click(event_id: str, item_id: str, event_time_ms: int, rec_id: str | None = None) -> Click:
    return Click(
        event_id=event_id,
        shopper_id="s",
        session_id="x",
        item_id=item_id,
        event_time_ms=event_time_ms,
        kind=ClickKind.VIEW,
        rec_id=rec_id,
    )


def order_line(
    order: str, item_id: str, shopper_id: str = "s", event_time_ms: int = 1_700_000_000_000, *, consent: bool = True
) -> Purchase:
    return Purchase(
        event_id=f"{order}-{item_id}",
        shopper_id=shopper_id,
        session_id="x",
        item_id=item_id,
        event_time_ms=event_time_ms,
        order_id=order,
        consent=consent,
    )


def purchase(
    event_id: str,
    item_id: str,
    event_time_ms: int,
    price: float | None = None,
    quantity: int = 1,
    rec_id: str | None = None,
) -> Purchase:
    return Purchase(
        event_id=event_id,
        shopper_id="s",
        session_id="x",
        item_id=item_id,
        event_time_ms=event_time_ms,
        order_id=f"order-{event_id}",
        price=price,
        quantity=quantity,
        rec_id=rec_id,
    )


def outcomes_of_experiment(name: str, share: float, item_id: str, began_ms: int, count: int = 2_000) -> list[Outcome]:
    """Return what came of the slates of `count` / 2 shoppers: of those treated every second slate is clicked, of others
    every fifth.
    """
    outcomes = []
    for n in range(count):
        shopper_id = f"s{n % (count // 2)}"
        clicks = n % (2 if is_treated(name, shopper_id, share) else 5) == 0
        item = OutcomeItem(item_id, 1, 1.0, 0.2, shown=True, clicked_after_ms=10 if clicks else None)
        outcomes.append(
            Outcome(
                rec_id=f"r{n}",
                shopper_id=shopper_id,
                surface="home",
                event_time_ms=began_ms + n,
                policy_version=2,
                policy_scope="global",
                model_version="m",
                fallback=Fallback.NONE,
                items=(item,),
            )
        )
    return outcomes
