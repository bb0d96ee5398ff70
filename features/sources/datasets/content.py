"""Content vectors for logs that have none: what is known of an item, hashed.

Source: Weinberger et al. 2009, "Feature hashing for large scale multitask learning", eq. 1 and 2 (signed hashing).
"""

import hashlib
from collections.abc import Iterable
from math import sqrt

from features.spec import CONTENT_DIM


def hashed_content(words: Iterable[str]) -> tuple[float, ...] | None:
    """Return (CONTENT_DIM,) of length 1 that items share as far as they share `words`; None without any."""
    vector = [0.0] * CONTENT_DIM
    for word in words:
        for byte in hashlib.blake2b(word.encode(), digest_size=4).digest():
            vector[byte % CONTENT_DIM] += 1.0 if byte < 128 else -1.0
    length = sqrt(sum(x * x for x in vector))
    return tuple(x / length for x in vector) if length else None
