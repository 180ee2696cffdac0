"""Seeds: seed(i) = f(study seed, round, index), and nothing else.

A study's seed and the round give a 128-bit key through numpy's `SeedSequence`; row i's 64-bit seed
is a keyed bijection of i:

    s(i) = mix( mix(i + k0) xor k1 ),      mix = the splitmix64 finaliser (a bijection of 64 bits)

so two rows of a round never share a seed, whatever the executor, the chunk size or the order, and
100,000 seeds cost a millisecond where 100,000 `SeedSequence`s cost 1.6 s.

A simulator turns its row's seed into noise with `rng(seed)` (one row) or `normals`/`uniforms`
(many rows): Philox streams keyed by the seed, so a row's noise is the same in every batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_STREAMS = {"simulate": 1, "theta": 2, "train": 3, "sample": 4, "diagnose": 5, "check": 6, "predict": 7}
_MASK = (1 << 64) - 1


def _words(value: int) -> tuple[int, int]:
    # Fixed words a field: SeedSequence reads spawn_key (2**32 + 5,) like (5, 1).
    return value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF


def sequence(root: int, stream: str, *fields: int) -> np.random.SeedSequence:
    """The seed sequence of a named stream of a study and any non-negative integer fields."""
    key = [_STREAMS[stream]]
    for field in fields:
        key.extend(_words(int(field)))
    return np.random.SeedSequence(root, spawn_key=tuple(key))


def generator(root: int, stream: str, *fields: int) -> np.random.Generator:
    """A random generator for one use in the core (drawing theta, training, diagnosing)."""
    return np.random.Generator(np.random.PCG64DXSM(sequence(root, stream, *fields)))


def mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def row_seeds(root: int, round: int, index: np.ndarray) -> np.ndarray:
    """The uint64 seeds of rows `index` of a round."""
    k0, k1 = sequence(root, "simulate", round).generate_state(2, np.uint64)
    with np.errstate(over="ignore"):
        return mix(mix(np.asarray(index).astype(np.uint64) + k0) ^ k1)


def trial_seeds(seeds: np.ndarray, trials: int) -> np.ndarray:
    """The seeds of each row's trials (n, trials): functions of the row's seed and the trial alone."""
    with np.errstate(over="ignore"):
        step = np.arange(1, trials + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return mix(mix(np.asarray(seeds, dtype=np.uint64))[:, None] + step)


def rng(seed: int) -> np.random.Generator:
    """One row's own generator, the same that `generators` gives for it."""
    return np.random.Generator(np.random.Philox(key=int(seed)))


class Reused:
    """One generator set to one seed after another: ten times cheaper than a new one each.

    `at(seed)` gives the stream that `rng(seed)` gives, until `at` is called again.
    """

    def __init__(self):
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state  # counter 0, an empty buffer
        self._key = self._state["state"]["key"]

    def at(self, seed: int) -> np.random.Generator:
        self._key[0] = seed
        self._bits.state = self._state
        return self._generator


def generators(seeds: np.ndarray) -> Iterator[np.random.Generator]:
    """A generator a row, in turn; the object is reused, so use it before asking for the next."""
    reused = Reused()
    return (reused.at(seed) for seed in np.asarray(seeds, dtype=np.uint64))


def _rows(out: np.ndarray) -> np.ndarray:
    return out.reshape(len(out), int(np.prod(out.shape[1:])))


def normals(seeds: np.ndarray, shape: tuple[int, ...] = (), dtype=np.float64) -> np.ndarray:
    """Standard normals (n, *shape); row i depends on seeds[i] alone."""
    out = np.empty((len(seeds), *shape), dtype=dtype)
    for row, g in zip(_rows(out), generators(seeds)):
        g.standard_normal(out=row, dtype=dtype)
    return out


def uniforms(seeds: np.ndarray, shape: tuple[int, ...] = (), dtype=np.float64) -> np.ndarray:
    """Uniforms on [0, 1) (n, *shape); row i depends on seeds[i] alone."""
    out = np.empty((len(seeds), *shape), dtype=dtype)
    for row, g in zip(_rows(out), generators(seeds)):
        g.random(out=row, dtype=dtype)
    return out
