"""How little is known of a shopper: how spread the interests are, and how far the last hour is from the rest."""

from math import log2

from features.interest import Strongest


def entropy(interest: Strongest) -> float | None:
    """Return the Shannon entropy of the kept weights, bits: 0 for one key, 3 for eight equal ones; None without any."""
    total = sum(interest.weights)
    if not total > 0:
        return None
    return -sum([w / total * log2(w / total) for w in interest.weights if w > 0]) + 0.0


def drift(short: Strongest, long: Strongest) -> float | None:
    """Return the Jensen-Shannon divergence of two interests, bits: 0 for the same, 1 for nothing in common.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy", eq. 4.1 with equal weights. None where one of
    them has no weight.
    """
    short_total, long_total = sum(short.weights), sum(long.weights)
    if not short_total > 0 or not long_total > 0:
        return None
    p = dict(zip(short.keys, [w / short_total for w in short.weights], strict=True))
    q = dict(zip(long.keys, [w / long_total for w in long.weights], strict=True))
    divergence = 0.0
    for mine, other in ((p, q), (q, p)):
        for key, share in mine.items():
            if share > 0:
                divergence += share * log2(2 * share / (share + other.get(key, 0.0)))
    return min(max(divergence / 2, 0.0), 1.0)
