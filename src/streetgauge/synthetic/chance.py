"""Chance that belongs to a key, not to a position: shuffle the keys and each has the same draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Words = NDArray[np.uint64]


def key_of(*parts: object) -> int:
    """Hash parts (seed, id, purpose) to 64 bits; the same on every machine.

    Examples
    --------
    >>> key_of(1, "QX81AA") == key_of(1, "QX81AA")
    True
    >>> key_of(1, "QX81AA") == key_of(2, "QX81AA")
    False
    """
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """Give the generator of a key: Philox, whose key is the hash, so making it is quick."""
    return np.random.Generator(np.random.Philox(key=key_of(*parts)))


def words_of(seed: int, keys: Iterable[str]) -> Words:
    """Hash each key to 64 bits, for `normals`."""
    return np.fromiter((key_of(seed, key) for key in keys), dtype=np.uint64)


def normals(words: Words, purpose: str, count: int) -> NDArray[np.float64]:
    """Draw ``count`` standard normals for each key, [keys, count], another set for each purpose.

    A counter-based generator: counters from each key's own start go through the mixing function
    of SplitMix64 (Steele, Lea and Flood 2014), all keys at once.
    """
    start = _mixed(words ^ np.uint64(key_of(purpose)))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mixed(start[:, None] + steps)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    drawn: NDArray[np.float64] = ndtri(uniform)
    return drawn


def _mixed(bits: Words) -> Words:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
