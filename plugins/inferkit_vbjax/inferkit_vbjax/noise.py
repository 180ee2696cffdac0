"""Standard normals from a counter: a keyed hash of (row, step, node), then Box and Muller.

JAX's own generator (threefry) costs some sixty operations a word, more than the neural mass it feeds.
Here row b has a 64-bit key, and step t makes of it two words that all nodes share:

    u = mix(key0 + t g),   v = mix(key1 xor u)          g = 0x9E3779B9, once a row and step

    a = hash(u xor n0, v),   b = hash(v xor n1, u)      once a node: n0, n1 are node n's constants
    hash(x, y):  x ^= x >> 16;  x *= m1;  x ^= x >> 15;  x += y;  x *= m2;  x ^= x >> 16

so every word depends on all 64 bits of its row's key.  With a and b as uniform numbers,

    radius = sqrt(-2 log((a + 1/2) / 2^24)),   angle = 2 pi b:      (radius cos, radius sin)

are two independent standard normals.  The radius has 24 bits: no draw lies beyond 5.9.
The generator is for simulations, not for cryptography.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_GOLDEN = np.uint32(0x9E3779B9)
# log(1 + m) / m, by Chebyshev
LOG = (
    0.99999994, -0.50000363, 0.33335114, -0.24970072,
    0.19898565, -0.17247013, 0.16234190, -0.10134057,
)
_M1, _M2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)


def mix(x):
    """A bijection of 32 bits in which every bit of x moves about half of the bits of the result."""
    x = (x ^ (x >> 16)) * _M1
    x = (x ^ (x >> 15)) * _M2
    return x ^ (x >> 16)


def _hash(x, y):
    x = (x ^ (x >> 16)) * _M1
    x = ((x ^ (x >> 15)) + y) * _M2
    return x ^ (x >> 16)


def row_keys(seeds: np.ndarray) -> np.ndarray:
    """(2, rows) words of 64-bit seeds."""
    seeds = np.asarray(seeds).astype(np.uint64)
    return np.stack([seeds & np.uint64(0xFFFFFFFF), seeds >> np.uint64(32)]).astype(np.uint32)


def from_jax_key(key) -> jax.Array:
    """(2, 1) words of one JAX random key."""
    return jax.random.bits(key, (2, 1), jnp.uint32)


def node_constants(pairs: int, nodes: int) -> np.ndarray:
    """(2, pairs, nodes) words: the same for every simulation."""
    return np.random.default_rng(0x5EED).integers(0, 2**32, (2, pairs, nodes), dtype=np.uint32)


def _unit_circle(word, dtype):
    """(cos, sin) of an angle uniform on the circle, by polynomials on a half circle and a sign.

    XLA's cos and sin reduce an argument of any size; this one lies within a quarter turn of 0.
    """
    turn = lax.bitcast_convert_type(word << 1, jnp.int32).astype(dtype) * dtype(2.0**-32)
    t = turn * dtype(np.pi)
    q = t * t
    sin = t * (1 + q * (-1.66666666e-1 + q * (8.33333097e-3 + q * (
        -1.98408612e-4 + q * (2.75252698e-6 - q * 2.38892170e-8)))))
    cos = 1 + q * (-0.5 + q * (4.16666665e-2 + q * (-1.38888842e-3 + q * (
        2.48010399e-5 + q * (-2.75246712e-7 + q * 1.99075165e-9)))))
    # The top bit, no part of the turn, says which half.
    half = lax.bitcast_convert_type(word, jnp.int32) >= 0
    return jnp.where(half, cos, -cos), sin


def _log_unit(word, dtype):
    """log((n + 1/2) / 2^24) of a word's upper 24 bits n.

    In single precision by exponent and a polynomial of the mantissa, m in [1/sqrt 2, sqrt 2) - 1, to
    1e-7; XLA's log, which is right for every number there is, takes twice the time.
    """
    x = lax.bitcast_convert_type(word >> 8, jnp.int32).astype(dtype) + dtype(0.5)
    if dtype is not np.float32:
        return jnp.log(x * dtype(2.0**-24))
    bits = lax.bitcast_convert_type(x, jnp.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> 23
    m = lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1
    series = jnp.full_like(m, LOG[-1])
    for c in LOG[-2::-1]:
        series = series * m + np.float32(c)
    return series * m + (exponent - 24).astype(dtype) * dtype(np.log(2))


def words(keys, step, constants: np.ndarray) -> list:
    """A pair of words (nodes, rows) for each pair of normals of one step.

    keys: (2, rows) words; constants: `node_constants(pairs, nodes)`.
    """
    u = mix(keys[0] + jnp.asarray(step).astype(jnp.uint32) * _GOLDEN)
    v = mix(keys[1] ^ u)
    return [(_hash(u[None, :] ^ n0[:, None], v[None, :]), _hash(v[None, :] ^ n1[:, None], u[None, :]))
            for n0, n1 in zip(constants[0], constants[1])]


def normals(pairs: list, dtype=np.float32) -> list:
    """Two arrays (nodes, rows) of standard normals for each pair of words."""
    dtype = np.dtype(dtype).type
    out: list = []
    for a, b in pairs:
        radius = jnp.sqrt(dtype(-2) * _log_unit(a, dtype))
        cos, sin = _unit_circle(b, dtype)
        out += [radius * cos, radius * sin]
    return out
