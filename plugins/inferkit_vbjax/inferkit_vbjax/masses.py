"""Neural masses: dx/dt = f(x, c, p) of one node, elementwise over arrays (nodes, rows).

x holds the states by name, c the coupling that reaches each input, p the parameters.

`mpr`  Montbrio, Pazo and Roxin 2015: firing rate r and mean potential V of theta neurons
    tau r' = Delta / (pi tau) + 2 r V
    tau V' = V^2 + eta + I + J tau r - (pi tau r)^2 + cr c_r + cv c_V
`jansen-rit`  Jansen and Rit 1995, with S(v) = 2 nu_max / (1 + exp(r (v0 - v)))
    y0'' = A a S(y1 - y2) - 2 a y0' - a^2 y0
    y1'' = A a (mu + a_2 J S(a_1 J y0) + c) - 2 a y1' - a^2 y1
    y2'' = B b a_4 J S(a_3 J y0) - 2 b y2' - b^2 y2
`vep`  the two-dimensional epileptor of Proix et al. 2014
    x' = 1 - x^3 - 2 x^2 - z + I1,    tau0 z' = 4 (x - x0) - z - c
`epileptor`  Jirsa et al. 2014, six states; c_fast and c_slow reach x1 and z, c_pop2 reaches x2
`dopa`  adaptive quadratic neurons with dopamine: states r, V, u, Sa, Sg, Dp; c_exc, c_inh, c_dopa
`linear`  tau x' = -x + I + c, the Ornstein-Uhlenbeck process where there is noise
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Mass:
    """One node's equations.

    inputs: input name -> the source, a state or a function of the states, that other nodes send.
    default_input: the one that a single connectome feeds.  noisy: states that get the noise;
    positive: states kept at 0 or above.  sigma: the default noise.
    """

    drift: Callable[[Mapping, Mapping, Mapping], dict]
    initial: Mapping[str, float]
    parameters: Mapping[str, float]
    inputs: Mapping[str, Callable[[Mapping], object]]
    default_input: str
    noisy: tuple[str, ...]
    sigma: float
    positive: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    observables: Mapping[str, Callable[[Mapping], object]] = field(default_factory=dict)

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.initial)


def _mpr(x, c, p):
    r, v = x["r"], x["V"]
    current = p["cr"] * c["r"] + p["cv"] * c["V"]
    rate = np.pi * p["tau"] * r
    per = 1 / p["tau"]  # a row's, not a node's: one division, then products
    return {
        "r": (p["Delta"] * per / np.pi + 2 * r * v) * per,
        "V": (v * v + p["eta"] + p["J"] * p["tau"] * r + p["I"] + current - rate * rate) * per,
    }


def _jansen_rit(x, c, p):
    def rate(v):
        return 2 * p["nu_max"] / (1 + jnp.exp(p["r"] * (p["v0"] - v)))

    a, b, y0 = p["a"], p["b"], x["y0"]
    drive = p["mu"] + p["a_2"] * p["J"] * rate(p["a_1"] * p["J"] * y0) + c["psp"]
    inhibition = p["a_4"] * p["J"] * rate(p["a_3"] * p["J"] * y0)
    return {
        "y0": x["y3"], "y1": x["y4"], "y2": x["y5"],
        "y3": p["A"] * a * rate(x["y1"] - x["y2"]) - 2 * a * x["y3"] - a * a * y0,
        "y4": p["A"] * a * drive - 2 * a * x["y4"] - a * a * x["y1"],
        "y5": p["B"] * b * inhibition - 2 * b * x["y5"] - b * b * x["y2"],
    }


def _vep(x, c, p):
    v = x["x"]
    return {
        "x": 1 - v * v * v - 2 * v * v - x["z"] + p["I1"],
        "z": (4 * (v - p["x0"]) - x["z"] - c["x"]) / p["tau0"],
    }


def _epileptor(x, c, p):
    x1, y1, z, x2, y2, g = (x[k] for k in ("x1", "y1", "z", "x2", "y2", "g"))
    shape = jnp.where(x1 < 0, p["a"] * x1 * x1 - p["b"] * x1,
                      x2 - p["slope"] - 0.6 * (z - 4) ** 2)
    # The seventh power only where it counts: far off, 0 * inf would make the gradient NaN.
    below = jnp.where(z < 0, z, 0.0)
    target = 4 * (x1 - p["x0"]) - 0.1 * below**7
    tt = p["tt"]
    return {
        "x1": tt * (y1 - shape * x1 - z + p["Iext"] + p["Kvf"] * c["fast"]),
        "y1": tt * (p["c"] - p["d"] * x1 * x1 - y1),
        "z": tt * p["r"] * (target - z + p["Ks"] * c["slow"]),
        "x2": tt * (x2 - y2 - x2**3 + p["Iext2"] + p["bb"] * g - 0.3 * (z - 3.5)
                    + p["Kf"] * c["pop2"]),
        "y2": tt * (jnp.where(x2 < -0.25, 0.0, p["aa"] * (x2 + 0.25)) - y2) / p["tau"],
        "g": tt * -0.01 * (g - 0.1 * x1),
    }


def _dopa(x, c, p):
    r, v = x["r"], x["V"]
    ampa, gaba = p["ga"] * x["Sa"], p["gg"] * x["Sg"]
    return {
        "r": r * (2 * p["a"] * v + p["b"] - ampa - gaba) + p["a"] * p["Delta"] / np.pi,
        "V": p["a"] * v * v + p["b"] * v + p["c"] + p["Eta"] - (np.pi * r) ** 2 / p["a"]
             + (p["Ad"] * x["Dp"] + p["Bd"]) * ampa * (p["Ea"] - v) + gaba * (p["Eg"] - v)
             + p["Iext"] - x["u"],
        "u": p["alpha"] * (p["beta"] * v - x["u"]) + p["ud"] * r,
        "Sa": p["Sja"] * p["we"] * c["exc"] - x["Sa"] / p["tauSa"],
        "Sg": p["Sjg"] * p["wi"] * c["inh"] - x["Sg"] / p["tauSg"],
        "Dp": (p["k"] * p["wd"] * c["dopa"] - p["Vmax"] * x["Dp"] / (p["Km"] + x["Dp"])) / p["tau_Dp"],
    }


def _linear(x, c, p):
    return {"x": (p["I"] - x["x"] + c["x"]) / p["tau"]}


def _state(name):
    return lambda x: x[name]


MASSES: dict[str, Mass] = {
    "mpr": Mass(
        _mpr, {"r": 0.0, "V": -2.0},
        {"tau": 1.0, "I": 0.0, "Delta": 1.0, "J": 15.0, "eta": -5.0, "cr": 1.0, "cv": 0.0},
        {"r": _state("r"), "V": _state("V")}, "r", ("r", "V"), 0.1, ("r",),
        {"tau": "ms", "r": "1/ms"},
    ),
    "jansen-rit": Mass(
        _jansen_rit, dict.fromkeys(("y0", "y1", "y2", "y3", "y4", "y5"), 0.0),
        {"A": 3.25, "B": 22.0, "a": 0.1, "b": 0.05, "v0": 5.52, "nu_max": 0.0025, "r": 0.56,
         "J": 135.0, "a_1": 1.0, "a_2": 0.8, "a_3": 0.25, "a_4": 0.25, "mu": 0.22},
        {"psp": lambda x: x["y1"] - x["y2"]}, "psp", ("y4",), 0.01, (),
        {"A": "mV", "B": "mV", "a": "1/ms", "b": "1/ms", "v0": "mV", "nu_max": "1/ms", "r": "1/mV",
         "mu": "1/ms", "psp": "mV"}, {"psp": lambda x: x["y1"] - x["y2"]},
    ),
    "vep": Mass(
        _vep, {"x": -2.0, "z": 4.0}, {"tau0": 10.0, "I1": 3.1, "x0": -3.5},
        {"x": _state("x")}, "x", ("x", "z"), 0.05, (), {"tau0": "ms"},
    ),
    "epileptor": Mass(
        _epileptor, {"x1": -1.5, "y1": -10.0, "z": 3.5, "x2": -1.0, "y2": 0.0, "g": -0.1},
        {"a": 1.0, "b": 3.0, "c": 1.0, "d": 5.0, "r": 0.00035, "x0": -1.6, "Iext": 3.1,
         "slope": 0.0, "Iext2": 0.45, "tau": 10.0, "aa": 6.0, "bb": 2.0, "Kvf": 0.0, "Kf": 0.0,
         "Ks": 1.0, "tt": 1.0},
        {"fast": _state("x1"), "slow": _state("x1"), "pop2": _state("x2")}, "slow", ("x2", "y2"),
        0.02, (), {"lfp": ""}, {"lfp": lambda x: x["x2"] - x["x1"]},
    ),
    "dopa": Mass(
        _dopa, {"r": 0.03, "V": -67.0, "u": 0.0, "Sa": 0.0, "Sg": 0.0, "Dp": 0.5},
        {"a": 0.04, "b": 5.0, "c": 140.0, "ga": 12.0, "gg": 12.0, "Eta": 18.0, "Delta": 1.0,
         "Iext": 0.0, "Ea": 0.0, "Eg": -80.0, "Sja": 0.8, "Sjg": 1.2, "tauSa": 5.0, "tauSg": 5.0,
         "alpha": 0.013, "beta": 0.4, "ud": 12.0, "k": 1e5, "Vmax": 1300.0, "Km": 150.0,
         "Bd": 0.2, "Ad": 1.0, "tau_Dp": 500.0, "wi": 1e-4, "we": 1e-4, "wd": 1e-4},
        {"exc": _state("r"), "inh": _state("r"), "dopa": _state("r")}, "exc", ("r", "V"), 1e-3,
        ("r",), {"Ea": "mV", "Eg": "mV", "V": "mV", "tauSa": "ms", "tauSg": "ms", "tau_Dp": "ms"},
    ),
    "linear": Mass(
        _linear, {"x": 0.0}, {"tau": 10.0, "I": 0.0}, {"x": _state("x")}, "x", ("x",), 0.1, (),
        {"tau": "ms"},
    ),
}
