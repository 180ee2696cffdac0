"""The Izhikevich neuron (2003), integrated by Euler steps, a whole batch at a time.

    dv/dt = 0.04 v^2 + 5 v + 140 - u + I + noise,    du/dt = a (b v - u)
    v >= 30 mV:  v <- c,  u <- u + d
"""

from dataclasses import dataclass

import numpy as np

from inferkit import Output, Parameter, Ragged
from inferkit.errors import ConfigError
from inferkit.seeds import normals


@dataclass(frozen=True)
class IzhikevichConfig:
    """Settings of the simulator.

    duration, dt: ms.  current: the constant input.  noise: sd of the current's white noise, per
    square root of a millisecond.
    """

    duration: float = 300.0
    dt: float = 0.5
    current: float = 10.0
    noise: float = 2.0

    def __post_init__(self):
        if not 0 < self.dt <= 1:
            raise ConfigError(f"izhikevich: dt is {self.dt} ms", allowed="above 0, at most 1")


class Izhikevich:
    def __init__(self, config: IzhikevichConfig | None = None):
        self.config = config or IzhikevichConfig()
        self.time = np.arange(0.0, self.config.duration, self.config.dt)
        self.parameters = (
            Parameter("a", unit="1/ms", default=0.02, description="rate of recovery"),
            Parameter("b", default=0.2, description="sensitivity of recovery to v"),
            Parameter("c", unit="mV", default=-65.0, description="reset of v"),
            Parameter("d", default=8.0, description="step of u at a spike"),
        )
        self.outputs = (
            Output("v", (len(self.time),), dtype="float32", unit="mV", dims=("time",),
                   axis=self.time, axis_unit="ms"),
            Output("spikes", None, unit="ms"),
        )

    def simulate(self, theta, seeds):
        n = len(seeds)
        a, b, c, d = (theta.get(p.name, np.full(n, p.default)) for p in self.parameters)
        dt, steps = self.config.dt, len(self.time)
        # Row by row from each row's own seed: the noise is the same in every batch.
        noise = self.config.noise * np.sqrt(dt) * normals(seeds, (steps,)).T
        v, u = np.full(n, -65.0), -65.0 * b
        trace = np.empty((steps, n), np.float32)
        fired_at, fired = [], []
        for t in range(steps):
            v = v + dt * (0.04 * v * v + 5 * v + 140 - u + self.config.current) + noise[t]
            u = u + dt * a * (b * v - u)
            spiking = v >= 30.0
            trace[t] = np.where(spiking, 30.0, v)
            v, u = np.where(spiking, c, v), np.where(spiking, u + d, u)
            (rows,) = np.nonzero(spiking)
            fired.append(rows)
            fired_at.append(np.full(len(rows), self.time[t]))
        rows, times = np.concatenate(fired), np.concatenate(fired_at)
        spikes = Ragged.from_rows([times[rows == i] for i in range(n)])
        return {"v": np.ascontiguousarray(trace.T), "spikes": spikes}
