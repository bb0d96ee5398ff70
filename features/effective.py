"""How much the repeated acts of one shopper say: less each time, and never more than a few. Pure.

N observations with a correlation r between any two say as much as N / (1 + (N - 1) r) that have nothing to do with one
another (the design effect: Kish 1965, "Survey Sampling", 5.4), which is 1 / r at most.
"""

ITEM_CORRELATION = 0.2  # of what one shopper does with one item: as much as 5 of different shoppers, at most
SHOPPER_CORRELATION = 0.002  # of what one shopper does at all: as much as 500, at most


def effective_count(count: float, correlation: float) -> float:
    """Return as how many independent observations `count` of them count, in [0, 1 / correlation).

    Args:
        count: of observations, at least 0; decayed, it need not be whole.
        correlation: between any two of them, in (0, 1).
    """
    return count / (1.0 + (count - 1.0) * correlation)


def next_weight(count: float, correlation: float) -> float:
    """Return what one more observation adds to the effective count of `count`, in (0, 1]."""
    return effective_count(count + 1.0, correlation) - effective_count(count, correlation)
