"""Random streams derived from named parts, so that equal names give equal draws wherever they are used."""

import hashlib
import json

import numpy as np


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed that depends on every part and on their order.

    Args:
        parts: names and numbers, e.g. ``("demos", "maze2d-umaze", 3)``.

    Returns:
        int in [0, 2**63).
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(*parts: str | int) -> np.random.Generator:
    """A NumPy generator seeded by :func:`seed_of`; same parts, same draws."""
    return np.random.default_rng(seed_of(*parts))
