"""A leaky integrate-and-fire neuron driven by an injected current.

    dV/dt = -(V - V_rest)/tau + I(t)/C           (mV/ms; pA/pF = mV/ms)

integrated by Euler's rule on t_k = k dt, k = 0 … T-1, from V(0) = V_rest:

    V_{k+1} = V_k + dt [ (V_rest - V_k)/tau + I(t_k)/C ] + process_noise sqrt(dt) xi_k

If V_{k+1} >= V_th, the neuron spikes at t_{k+1} and V_{k+1} becomes V_reset (V_rest unless set),
where it stays for the refractory period.  The recorded trace is V_k plus independent Gaussian noise
of `noise_sd` mV at every sample.  It shows the reset and no spike shape, unless `spike_peak` is
set: then the sample at a spike reads `spike_peak` (plus noise) and the dynamics are unchanged.

The step is elementwise IEEE arithmetic over the batch and each row's noise comes from its own
seed, so a row's bytes do not depend on the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit import seeds as rng
from inferkit.builtin.lif.config import LIFConfig, injected_current
from inferkit.data import Output, Parameter, Ragged
from inferkit.errors import DataError, SimulatorError, unknown_name

PARAMETERS = (
    Parameter("tau", unit="ms", default=20.0, description="membrane time constant"),
    Parameter("V_rest", unit="mV", default=-65.0, description="resting potential"),
    Parameter("C", unit="pF", default=200.0, description="membrane capacitance"),
    Parameter("V_th", unit="mV", default=-48.0, description="spike threshold"),
)
_BLOCK = 2000  # rows: the state stays in the L2 cache; not a power of two, for the transpose


class LIF:
    """The leaky integrate-and-fire neuron (see the module's docstring for the equations)."""

    parameters = PARAMETERS

    def __init__(self, config: LIFConfig | None = None):
        self.config = config = config or LIFConfig()
        self.time = np.arange(config.steps) * config.dt
        self.current = injected_current(config, self.time)
        declared = {
            "V": Output(
                "V", (config.steps,), "float32", "mV", ("time",), self.time, "ms",
                description="membrane potential with observation noise",
            ),
            "spikes": Output(
                "spikes", None, "float64", "ms", ("spike",), description="spike times"
            ),
        }
        self.outputs = tuple(declared[name] for name in config.outputs)

    @property
    def stochastic(self) -> bool:
        """Whether two seeds can give two results with this configuration."""
        config = self.config
        return config.process_noise > 0 or (config.noise_sd > 0 and "V" in config.outputs)

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        columns = _columns(theta, len(seeds))
        config, n = self.config, len(seeds)
        x: dict[str, Any] = {}
        if "V" in config.outputs:
            x["V"] = np.empty((n, config.steps), np.float32)
        counts, times = [], []
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            block = {name: column[rows] for name, column in columns.items()}
            observed, process = self._noise(seeds[rows])
            trace, spiked = self._integrate(block, process)
            if "V" in config.outputs:
                out = x["V"][rows]
                if observed is None:
                    out[...] = trace.T
                else:
                    np.multiply(observed, np.float32(config.noise_sd), out=out)
                    out += trace.T
            if "spikes" in config.outputs:
                step, row = np.nonzero(spiked)
                counts.append(np.bincount(row, minlength=spiked.shape[1]))
                times.append(self.time[step[np.argsort(row, kind="stable")]])
        if "spikes" in config.outputs:
            offsets = np.concatenate([[0], *counts]).cumsum()
            x["spikes"] = Ragged(np.concatenate([np.empty(0), *times]), offsets)
        return {name: x[name] for name in config.outputs}

    def trace(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trace (n, T) in mV without any noise."""
        n = len(np.atleast_1d(next(iter(theta.values()))))
        columns = _columns(theta, n)
        parts = [
            self._integrate({k: v[s : s + _BLOCK] for k, v in columns.items()}, None)[0].T
            for s in range(0, n, _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.config.steps), np.float32)

    def exact_log_likelihood(self, theta: Mapping[str, np.ndarray], observed: Any) -> np.ndarray:
        """log p(V | theta), one value a row of theta, where the noise is observation noise alone:

            sum_k log N(V_k; trace_k(theta), noise_sd^2)

        `observed` is a trace (T,), i.i.d. trials (m, T), which are summed, or a dict with "V".
        """
        sd = self.config.noise_sd
        if self.config.process_noise > 0 or sd <= 0:
            raise SimulatorError(
                "lif: the exact likelihood needs observation noise alone",
                allowed="process_noise = 0 and noise_sd > 0",
            )
        values = observed["V"] if isinstance(observed, Mapping) else observed
        trials = np.atleast_2d(np.asarray(values, dtype=float))
        if trials.ndim != 2 or trials.shape[1] != self.config.steps:
            raise DataError(
                f"lif: the observed V has shape {np.shape(values)}",
                allowed=f"({self.config.steps},) or (trials, {self.config.steps})",
            )
        # sum_j |v_j - f|^2 = m |vbar - f|^2 + const, so trials cost nothing per row of theta.
        mean, m = trials.mean(0), len(trials)
        spread = ((trials - mean) ** 2).sum()
        constant = -0.5 * trials.size * math.log(2 * math.pi * sd**2) - 0.5 * spread / sd**2
        n = len(np.atleast_1d(next(iter(theta.values()))))
        out = np.empty(n)
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            part = self.trace({k: np.atleast_1d(v)[rows] for k, v in theta.items()})
            with np.errstate(all="ignore"):
                out[rows] = constant - 0.5 * m / sd**2 * ((part - mean) ** 2).sum(1)
        return np.where(np.isnan(out), -np.inf, out)

    log_likelihood = exact_log_likelihood

    def default_prior(self):
        """tau ~ LogNormal(20 ms, 0.3), V_rest ~ N(-65, 3) mV, C ~ LogNormal(200 pF, 0.3),
        V_th ~ N(-48, 3) mV: cortical pyramidal cells; with the default pulse 80 % of draws spike.
        """
        from inferkit.prior import LogNormal, Normal, Prior

        return Prior(
            {
                "tau": LogNormal(20.0, 0.3, unit="ms"),
                "V_rest": Normal(-65.0, 3.0, unit="mV"),
                "C": LogNormal(200.0, 0.3, unit="pF"),
                "V_th": Normal(-48.0, 3.0, unit="mV"),
            }
        )

    def _noise(self, seeds: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Observation and process noise; a row's observation noise is drawn first, always."""
        config = self.config
        if config.process_noise > 0:
            both = rng.normals(seeds, (2, config.steps), np.float32)
            process = both[:, 1].T.astype(float) * (config.process_noise * math.sqrt(config.dt))
            return (both[:, 0] if config.noise_sd > 0 else None), process
        if config.noise_sd > 0 and "V" in config.outputs:
            return rng.normals(seeds, (config.steps,), np.float32), None
        return None, None

    def _integrate(
        self, theta: Mapping[str, np.ndarray], process: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Noise-free recording (T, n) float32 and spikes (T, n) bool of one block of rows."""
        config, current = self.config, self.current
        tau, rest, capacity, threshold = (theta[p.name] for p in PARAMETERS)
        n = len(tau)
        trace = np.empty((config.steps, n), np.float32)
        spiked = np.zeros((config.steps, n), bool)
        held = round(config.refractory / config.dt)
        with np.errstate(all="ignore"):
            # An impossible membrane (tau <= 0 or C <= 0) gives a row of NaN: a failure as data.
            leak = config.dt / np.where(tau > 0, tau, np.nan)
            gain = config.dt / np.where(capacity > 0, capacity, np.nan)
            reset = rest if config.V_reset is None else np.full(n, float(config.V_reset))
            keep, pull = 1.0 - leak, leak * rest
            v, drive = rest + 0.0 * (leak + gain), np.empty(n)
            silent_until = np.zeros(n, np.int64)
            trace[0] = v
            last = None
            for k in range(config.steps - 1):
                if current[k] != last:  # a pulse changes the drive only twice
                    last = current[k]
                    np.multiply(gain, last, out=drive)
                    drive += pull
                v *= keep
                v += drive
                if process is not None:
                    v += process[k]
                if held:
                    np.copyto(v, reset, where=silent_until > k)
                fired = np.greater_equal(v, threshold, out=spiked[k + 1])
                if held:
                    fired &= silent_until <= k
                    silent_until[fired] = k + 1 + held
                np.copyto(v, reset, where=fired)
                trace[k + 1] = v
        if config.spike_peak is not None:
            trace[spiked] = config.spike_peak
        return trace, spiked


def _columns(theta: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Every parameter as a contiguous float column (n,), defaults filled in."""
    known = [p.name for p in PARAMETERS]
    for name in theta:
        if name not in known:
            raise unknown_name("parameter of lif", name, known, SimulatorError)
    out = {}
    for p in PARAMETERS:
        column = np.asarray(theta.get(p.name, p.default), dtype=float)
        if column.shape not in ((), (n,)):
            raise SimulatorError(
                f"lif: {p.name} has shape {column.shape}", allowed=f"({n},), one value a row"
            )
        out[p.name] = np.ascontiguousarray(np.broadcast_to(column, (n,)))
    return out
