"""The Balloon-Windkessel model as a TVB monitor.

With z the neural activity, averaged over steps of h = 1 ms, vasodilatory signal s, inflow f, volume v
and deoxyhaemoglobin q,

    s' = eps z - s / tau_s - (f - 1) / tau_f          f' = s
    tau_0 v' = f - v^(1/alpha)                        tau_0 q' = f (1 - (1 - E_0)^(1/f)) / E_0
                                                                 - v^(1/alpha) q / v
    BOLD = V_0 (k_1 (1 - q) + k_2 (1 - q / v) + k_3 (1 - v)),

time in seconds; after Friston, Mechelli, Turner and Price (2000), with the constants of Stephan et al.
(2007).  log f, log v and log q are integrated by Euler steps of h, so that they stay positive, and
log f is kept within +-5 (inflow between 0.7 % and 148 times rest).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inferkit.errors import ConfigError, unknown_name
from inferkit_tvb.assemble import tvb

STEP = 1.0  # ms
PARAMETERS = {"epsilon": 0.5, "tau_s": 1 / 0.65, "tau_f": 1 / 0.41, "tau_0": 0.98, "alpha": 0.32,
              "E_0": 0.4, "V_0": 0.04, "nu_0": 40.3, "r_0": 25.0, "TE": 0.04, "ratio": 1.0}


def settings(given: dict[str, float] | None) -> dict[str, float]:
    """All parameters, with k_1, k_2, k_3 derived from them."""
    for name, value in (given or {}).items():
        if name not in PARAMETERS:
            raise unknown_name("parameter of BalloonWindkessel", name, PARAMETERS)
        if not value > 0:
            raise ConfigError(f"BalloonWindkessel: {name} is {value}", allowed="above 0")
    p = PARAMETERS | dict(given or {})
    return p | {"k_1": 4.3 * p["nu_0"] * p["E_0"] * p["TE"],
                "k_2": p["ratio"] * p["r_0"] * p["E_0"] * p["TE"], "k_3": 1 - p["ratio"]}


def step(state: np.ndarray, z: np.ndarray, p: dict[str, float], h: float) -> None:
    """Advance (s, log f, log v, log q) by h seconds, in place."""
    s, lf, lv, lq = state
    f, v, q = np.exp(lf), np.exp(lv), np.exp(lq)
    out = np.exp(lv / p["alpha"])
    ds = p["epsilon"] * z - s / p["tau_s"] - (f - 1) / p["tau_f"]
    extracted = (1 - np.exp(math.log(1 - p["E_0"]) / f)) / p["E_0"]
    dlv = (f - out) / (p["tau_0"] * v)
    dlq = (f * extracted / q - out / v) / p["tau_0"]
    state[1] = np.clip(lf + h * s / f, -5.0, 5.0)
    state[0] = s + h * ds
    state[2], state[3] = lv + h * dlv, lq + h * dlq


def signal(state: np.ndarray, p: dict[str, float]) -> np.ndarray:
    v, q = np.exp(state[2]), np.exp(state[3])
    return p["V_0"] * (p["k_1"] * (1 - q) + p["k_2"] * (1 - q / v) + p["k_3"] * (1 - v))


def Balloon(given: dict[str, float] | None, **settled: Any) -> Any:
    """The monitor; its class is made here, because TVB is imported only when it is used."""
    p = settings(given)

    class BalloonWindkessel(tvb().monitors.Monitor):
        def config_for_sim(self, simulator):
            super().config_for_sim(simulator)
            self.inner = max(1, round(STEP / self.dt))
            shape = (len(self.voi), simulator.number_of_nodes, simulator.model.number_of_modes)
            self.total, self.state = np.zeros(shape), np.zeros((4, *shape))

        def sample(self, step_, state):
            self.total += state[self.voi]
            if step_ % self.inner == 0:
                step(self.state, self.total / self.inner, p, self.inner * self.dt / 1000)
                self.total[:] = 0
            if step_ % self.istep == 0:
                return [step_ * self.dt, signal(self.state, p)]
            return None

    return BalloonWindkessel(**settled)
