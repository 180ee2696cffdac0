"""The LIF simulator's rate, beside loops that one would write by hand, in one run.

    python benchmarks/lif.py [ROWS]

400 steps, observation noise on every sample; one thread; interleaved, medians of seven; CPU seconds.
The hand-written ones draw their noise from one generator for the whole batch, which makes a row's
noise depend on its place in the batch; ours draws it from each row's own seed.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
import numba
import numpy as np

import inferkit as ik
from inferkit import seeds
from inferkit.builtin.lif import simulator as ours

LIF = ik.simulator("lif", outputs=["V"]).build()
CURRENT, DT = LIF.current, LIF.config.dt


def numpy_batch(theta, rng):
    """Vectorised over the batch, step by step."""
    tau, rest, c, threshold = theta
    v, out = rest.copy(), np.empty((len(CURRENT), len(tau)), np.float32)
    for k, i in enumerate(CURRENT):
        out[k] = v
        v = v + DT * ((rest - v) / tau + i / c)
        v = np.where(v >= threshold, rest, v)
    return out.T + rng.standard_normal(out.T.shape, dtype=np.float32)


@numba.njit(cache=True)
def numba_rows(tau, rest, c, threshold, current, dt):
    """One row after the other, numba's own generator."""
    out = np.empty((len(tau), len(current)), np.float32)
    for n in range(len(tau)):
        v = rest[n]
        for k in range(len(current)):
            out[n, k] = v + np.random.standard_normal()
            v += dt * ((rest[n] - v) / tau[n] + current[k] / c[n])
            if v >= threshold[n]:
                v = rest[n]
    return out


def one_by_one(theta, rng):
    """A Python loop over rows and steps."""
    out = []
    for tau, rest, c, threshold in zip(*theta):
        v, trace = rest, []
        for i in CURRENT:
            trace.append(v)
            v += DT * ((rest - v) / tau + i / c)
            if v >= threshold:
                v = rest
        out.append(np.array(trace) + rng.standard_normal(len(trace)))
    return np.array(out)


def main(n=20_000):
    drawn = LIF.default_prior().sample(n, np.random.default_rng(0))
    theta = tuple(drawn[k] for k in ("tau", "V_rest", "C", "V_th"))
    own, rng = seeds.row_seeds(0, 0, np.arange(n)), np.random.default_rng(1)
    few = tuple(t[:200] for t in theta)

    def plain():
        kernel, ours.compiled = ours.compiled, lambda: None
        LIF.simulate(drawn, own)
        ours.compiled = kernel

    runs = {
        "inferkit, compiled": (lambda: LIF.simulate(drawn, own), n),
        "inferkit, numpy alone": (plain, n),
        "numpy by hand": (lambda: numpy_batch(theta, rng), n),
        "numba by hand": (lambda: numba_rows(*theta, CURRENT, DT), n),
        "Python loop": (lambda: one_by_one(few, rng), 200),
    }
    spent = {name: [] for name in runs}
    for turn in range(8):
        for name, (run, _) in runs.items():
            started = time.process_time()
            run()
            if turn:  # the first compiles
                spent[name].append(time.process_time() - started)
    for name, (_, rows) in runs.items():
        print(f"{name:24}{rows / statistics.median(spent[name]):12,.0f} rows/s   "
              f"best {rows / min(spent[name]):12,.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
