"""A leaky integrate-and-fire neuron driven by an injected current.

    dV/dt = -(V - V_rest)/tau + I(t)/C           (mV/ms; pA/pF = mV/ms)

integrated by Euler's rule on t_k = k dt, k = 0 … T-1, from V(0) = V_rest:

    V_{k+1} = V_k + dt [ (V_rest - V_k)/tau + I(t_k)/C ] + process_noise sqrt(dt) xi_k

If V_{k+1} >= V_th, the neuron spikes at t_{k+1} and V_{k+1} becomes V_reset (V_rest unless set),
where it stays for the refractory period.  The recorded trace is V_k plus independent Gaussian noise
of `noise_sd` mV at every sample.  It shows the reset and no spike shape, unless `spike_peak` is
set: then the sample at a spike reads `spike_peak` (plus noise) and the dynamics are unchanged.

The step is elementwise IEEE arithmetic over the batch and each row's noise comes from its own
seed (`noise`), so a row's bytes do not depend on the batch.  Where numba is installed (`pip install
"inferkit[fast]"`), `kernel` does the same work twenty times faster, to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from inferkit.builtin.lif import noise
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
        block = _numpy_block if (kernel := compiled()) is None else kernel.block
        kept = "V" in config.outputs
        trace = np.empty((n if kept else 0, config.steps), np.float32)
        counts, at = np.zeros(n, np.int64), [np.empty(0, np.int64)]
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            neuron = self._neuron({name: column[rows] for name, column in columns.items()})
            at.append(block(config, self.current, neuron, seeds[rows], trace[rows], counts[rows]))
        x: dict[str, Any] = {"V": trace} if kept else {}
        if "spikes" in config.outputs:
            offsets = np.concatenate([[0], counts]).cumsum()
            x["spikes"] = Ragged(self.time[np.concatenate(at)], offsets)
        return {name: x[name] for name in config.outputs}

    def trace(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trace (n, T) in mV without any noise."""
        n = len(np.atleast_1d(next(iter(theta.values()))))
        columns = _columns(theta, n)
        parts = [
            _integrate(self.config, self.current,
                       self._neuron({k: v[s : s + _BLOCK] for k, v in columns.items()}), None)[0].T
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

    def _neuron(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """keep, gain, pull, rest, threshold, reset: what a step needs of each row, (6, n)."""
        tau, rest, capacity, threshold = (theta[p.name] for p in PARAMETERS)
        dt, reset = self.config.dt, self.config.V_reset
        with np.errstate(all="ignore"):
            # An impossible membrane (tau <= 0 or C <= 0) gives a row of NaN: a failure as data.
            leak = dt / np.where(tau > 0, tau, np.nan)
            gain = dt / np.where(capacity > 0, capacity, np.nan)
            return np.stack([1.0 - leak, gain, leak * rest, rest + 0.0 * (leak + gain), threshold,
                             rest if reset is None else np.full(len(rest), float(reset))])


@cache
def compiled() -> Any:
    """The compiled kernel, or None where numba is not installed."""
    try:
        from inferkit.builtin.lif import kernel
    except ImportError:
        return None
    return kernel


def _numpy_block(config: LIFConfig, current: np.ndarray, neuron: np.ndarray, seeds: np.ndarray,
                 trace: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Fills trace (n, T), if it has rows, and counts (n,); returns the spikes' steps, row by row."""
    process = None
    if config.process_noise > 0:
        process = noise.normals(seeds, config.steps, noise.PROCESS).astype(float) * config.kick
    seen, spiked = _integrate(config, current, neuron, process)
    if len(trace):
        if config.noise_sd > 0:
            z = noise.normals(seeds, config.steps, noise.OBSERVED)
            seen += z * np.float32(config.noise_sd)
        trace[...] = seen.T
    step, row = np.nonzero(spiked)
    counts[...] = np.bincount(row, minlength=len(counts))
    return step[np.argsort(row, kind="stable")]


def _integrate(config: LIFConfig, current: np.ndarray, neuron: np.ndarray,
               process: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Recording without observation noise (T, n) float32 and spikes (T, n) bool of one block."""
    keep, gain, pull, rest, threshold, reset = neuron
    n = len(rest)
    trace = np.empty((config.steps, n), np.float32)
    spiked = np.zeros((config.steps, n), bool)
    held = round(config.refractory / config.dt)
    with np.errstate(all="ignore"):
        v, drive = rest.copy(), np.empty(n)
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
