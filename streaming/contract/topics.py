"""What lies on each topic, who writes it and who reads it."""

from typing import NamedTuple

import msgspec

from streaming import schemas
from streaming.schemas import Topic

JOBS = ("recommend", "features", "learn")
SHOP, APPS, SHOWING = "the shop", "apps", "the app that shows slates"
_SINK, _EXPLAIN, _PROBES = "rheostat log sink", "rheostat explain", "rheostat job ready"


class Contract(NamedTuple):
    """Of a topic."""

    message: type[msgspec.Struct]
    writers: tuple[str, ...]  # jobs, commands and modules by their names; others in words
    readers: tuple[str, ...]
    key: str = "shopper"

    @property
    def name(self) -> str:
        """What the message is called."""
        return self.message.__name__


CONTRACTS: dict[Topic, Contract] = {
    Topic.CLICKS: Contract(schemas.Click, (SHOP,), ("recommend", "learn")),
    Topic.PURCHASES: Contract(schemas.Purchase, (SHOP,), ("recommend", "learn")),
    Topic.REQUESTS: Contract(schemas.Request, (SHOP,), ("recommend",)),
    Topic.RETURNS: Contract(schemas.Return, (SHOP,), ("learn", _SINK)),
    Topic.IMPRESSIONS: Contract(schemas.Impression, (SHOWING,), ("recommend", "learn")),
    Topic.ITEMS: Contract(schemas.Item, (SHOP,), JOBS, key="item"),
    Topic.POLICIES: Contract(
        schemas.Policy, ("rheostat policy", "the console", "recommend", "learn"), ("recommend", "learn"), key="scope"
    ),
    Topic.RECOMMENDATIONS: Contract(schemas.Recommendation, ("recommend",), (APPS, "learn")),
    Topic.OUTCOMES: Contract(schemas.Outcome, ("learn",), (_SINK, "rheostat experiment")),
    Topic.ESTIMATES: Contract(schemas.Estimates, ("learn",), ("recommend",), key="name"),
    Topic.COMPLEMENTS: Contract(schemas.Complements, ("learn",), ("recommend",), key="item"),
    Topic.FEATURE_LOG: Contract(schemas.FeatureRecord, ("recommend",), ("features", _SINK)),
    Topic.REQUEST_LOG: Contract(schemas.RequestRecord, ("recommend",), (_SINK, _EXPLAIN)),
    Topic.PROFILE_REQUESTS: Contract(schemas.ProfileRequest, ("recommend",), ("features",)),
    Topic.PROFILES: Contract(schemas.StoredProfile, ("features",), ("recommend",)),
    Topic.DEAD_LETTERS: Contract(schemas.DeadLetter, JOBS, ("rheostat dead-letters",), key="topic"),
    Topic.PROBES: Contract(schemas.Click, (_PROBES,), ("recommend",)),
    Topic.PROBE_SLATES: Contract(schemas.Recommendation, ("recommend",), (_PROBES,)),
    # What is made up never meets what is real.
    Topic.PROBE_LOG: Contract(schemas.FeatureRecord, ("recommend",), ()),
}
FROM_OUTSIDE = tuple([topic for topic, contract in CONTRACTS.items() if {SHOP, SHOWING} & set(contract.writers)])
