"""How little is known of a shopper: how spread the interests are, and how far the last hour is from the rest."""

from math import log2

from features.interest import Strongest

EVIDENCE_HALF = 10  # interactions after which half of what there is to learn of a shopper counts as learnt


def uncertainty(evidence_count: int, interest_drift: float | None) -> float:
    """Return how little is known of a shopper, in [0, 1]: 1 for a new one, and more again when the interests change.

    1 - known * (1 - drift^2) with known = evidence / (evidence + EVIDENCE_HALF). The square lets the everyday
    difference of an hour from the rest count little, and one with nothing in common wholly.
    """
    known = evidence_count / (evidence_count + EVIDENCE_HALF)
    return 1.0 - known * (1.0 - (interest_drift or 0.0) ** 2)


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
