"""Gaussian noise from a row's own seed, many rows side by side, the same bits wherever it is drawn.

Each row runs its own xoshiro128++ (32-bit words, period 2^128 - 1), its four words being two steps
of splitmix64 from the row's seed; each `stream` starts elsewhere, so a row has independent ones.
Two words w, a give two standard normals by Box and Muller:

    (r cos phi, r sin phi),     r = sqrt(-2 log(([w/2] + 1/2) / 2^31)),     phi = 2 pi a / 2^32

log, cos and sin are polynomials (relative error below 1e-6), so nothing enters but shifts and the
IEEE operations +, -, *, sqrt: a library's `log` may differ in its last bit between machines, and
between one value and eight at a time.

The functions of single steps take numpy arrays and single numbers alike: `kernel` compiles the same
ones into its innermost loop.

Blackman, Vigna 2021 (ACM TOMS 47:36); Steele, Lea, Flood 2014 (OOPSLA); Box, Muller 1958.
"""

from __future__ import annotations

import numpy as np

from inferkit.seeds import mix

u32, f32 = np.uint32, np.float32
OBSERVED, PROCESS = np.uint64(0), np.uint64(0xD1B54A32D192ED03)  # streams: any constants that differ
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE, _TWO = f32(1), f32(2)
_HALF, _STEP = f32(2.0**-32), f32(2.0**-31)
_LN2, _ROOT = f32(0.6931471805599453), f32(1.4142135623730951)
_QUARTER = f32(2.0**-30)  # of a turn


def start(seeds: np.ndarray, stream: np.uint64) -> np.ndarray:
    """The states (4, n) of the rows' generators."""
    with np.errstate(over="ignore"):
        at = np.asarray(seeds, np.uint64) ^ stream
        words = [mix(at + _GOLDEN), mix(at + _GOLDEN + _GOLDEN)]
    return np.stack([u32(w >> np.uint64(shift)) for w in words for shift in (0, 32)])


def pick(condition, yes, no):
    return np.where(condition, yes, no)


def root(x):
    return np.sqrt(x)


def number(word):
    """A word as a signed number: processors convert those in one instruction."""
    return f32(u32(word).view(np.int32))


def rotated(x, k):
    return u32(u32(x << u32(k)) | (x >> u32(32 - k)))


def step(a, b, c, d):
    """The next word, and the generator's next state."""
    word = u32(rotated(u32(a + d), 7) + a)
    shifted = u32(b << u32(9))
    c, d = u32(c ^ a), u32(d ^ b)
    return word, u32(a ^ d), u32(b ^ c), u32(c ^ shifted), rotated(d, 11)


def log(x):
    """Of a positive, normal float32."""
    bits = f32(x).view(u32)
    exponent = number(bits >> u32(23)) - f32(127)
    m = u32((bits & u32(0x007FFFFF)) | u32(0x3F800000)).view(f32)
    high = m > _ROOT
    m = pick(high, m / _TWO, m)
    exponent = pick(high, exponent + _ONE, exponent)
    f = m - _ONE
    # log(1 + f) = f - f^2 / 2 + f^3 P(f), for 1 + f between the roots of 1/2 and of 2
    p = f32(-0.0810155905908) * f + f32(0.1271230805965)
    p = p * f + f32(-0.1297223888759)
    p = p * f + f32(0.1420217376083)
    p = p * f + f32(-0.1664224759971)
    p = p * f + f32(0.2000146857978)
    p = p * f + f32(-0.2500029654600)
    p = p * f + f32(0.3333332859674)
    square = f * f
    return exponent * _LN2 + (f + square * (f * p - f32(0.5)))


def turn(word):
    """cos and sin of 2 pi word / 2^32: of the angle's rest from the nearest quarter, then turned."""
    quarter = u32(u32(word + u32(0x20000000)) >> u32(30))
    rest = number(word - u32(quarter << u32(30))) * _QUARTER
    s = rest * rest
    p = f32(-0.0046021621049) * s + f32(0.0796802228582)
    p = p * s + f32(-0.6459634781534)
    sine = rest * (p * s + f32(1.5707963219600))
    p = f32(-0.0204082554672) * s + f32(0.2535996081125)
    p = p * s + f32(-1.2336970108360)
    cosine = p * s + f32(0.9999999723759)
    odd = (quarter & u32(1)) == u32(1)
    x, y = pick(odd, sine, cosine), pick(odd, cosine, sine)
    x = pick((quarter == u32(1)) | (quarter == u32(2)), -x, x)
    y = pick(quarter >= u32(2), -y, y)
    return x, y


def two(word, angle):
    """Two standard normals (float32) from two words."""
    r = root(-_TWO * log(number(word >> u32(1)) * _STEP + _HALF))
    x, y = turn(angle)
    return r * x, r * y


def normals(seeds: np.ndarray, steps: int, stream: np.uint64) -> np.ndarray:
    """Standard normals (steps, n), float32; column i depends on seeds[i] alone."""
    a, b, c, d = start(seeds, stream)
    words = np.empty((steps + steps % 2, len(a)), u32)
    for k in range(len(words)):
        words[k], a, b, c, d = step(a, b, c, d)
    out = words.view(f32)
    for k in range(0, len(words), 16):  # so many at a time that the temporaries stay in the cache
        w = words[k : k + 16]
        out[k : k + 16 : 2], out[k + 1 : k + 16 : 2] = two(w[0::2], w[1::2])
    return out[:steps]
