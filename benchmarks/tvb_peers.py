"""The compiled kernels beside other simulators of the same networks, in turns within one run.

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install tvbk==0.5 neurolib==0.6.2 jax equinox diffrax optax plum-dispatch numpyro
    /tmp/peers/bin/pip install --no-deps tvboptim==0.4.0
    python benchmarks/tvb_peers.py /tmp/peers/bin/python [MODEL …]

The peers live in an environment of their own; this file, started by its interpreter, serves them: it
reads a task a line and answers with wall seconds a simulated second a parameter set.  68 regions,
noise, one thread; each peer as its documentation runs it: neurolib (numba, Euler, one set at a time),
tvbk (C++, Heun, eight sets a vector), tvboptim (JAX, Heun, sets by vmap, sparse edges with delays, a
linear coupling of one state).  The first answer of a task, which compiles, is not counted.
"""

import json
import os
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1",
                  XLA_FLAGS="--xla_cpu_multi_thread_eigen=false")
import numpy as np  # noqa: E402

# model of TVB: dt, its coupling, and what it is called by each peer (tvboptim: and the state it sends)
TASKS = {
    "MontbrioPazoRoxin": (0.01, "Linear", {"tvbk": "mpr"}),
    "JansenRit": (0.1, "SigmoidalJansenRit", {"tvbk": "jr", "tvboptim": "JansenRit.y1"}),
    "WilsonCowan": (0.1, "Linear", {"neurolib": "wc.WCModel", "tvboptim": "WilsonCowan.E"}),
    "SupHopf": (0.1, "Difference", {"neurolib": "hopf.HopfModel", "tvboptim": "SupHopf.x"}),
    "ReducedWongWang": (0.1, "Linear", {"tvboptim": "ReducedWongWang.S"}),
    "ReducedWongWangExcInh": (0.1, "Linear", {"neurolib": "ww.WWModel",
                                              "tvboptim": "WongWangExcInh.S_e"}),
    "Generic2dOscillator": (0.1, "Linear", {"tvboptim": "Generic2dOscillator.V"}),
    "Linear": (0.1, "Linear", {"tvboptim": "Linear.x"}),
}
SETS, SPEED, NOISE = 16, 3.0, 1e-5


# -- in the peers' environment -----------------------------------------------------------------------

def neurolib(name, weights, lengths, dt, duration):
    from importlib import import_module

    module, _, cls = name.partition(".")
    model = getattr(import_module(f"neurolib.models.{module}"), cls)(Cmat=weights, Dmat=lengths, seed=1)
    told = {"dt": dt, "duration": duration, "signalV": SPEED, "sigma_ou": np.sqrt(2 * NOISE)}
    model.params.update({k: v for k, v in told.items() if k in model.params})
    started = time.perf_counter()
    model.run()
    seconds = time.perf_counter() - started
    assert np.isfinite(model.output).all() and model.output.shape[0] == len(weights)
    return seconds


def tvbk(name, weights, lengths, dt, duration):
    import tvbk as k

    states, parameters = {"mpr": (2, 6), "jr": (6, 14)}[name]
    to, source = np.nonzero(weights)
    n, items = len(weights), SETS // 8
    lags = np.maximum(np.rint(lengths / SPEED / dt).astype(int), 1)
    depth = 1 << int(lags.max() + 2).bit_length()
    c = k.Conn(n, len(to))
    c.weights[:], c.indices[:] = weights[to, source], source
    c.indptr[:] = np.concatenate([[0], np.bincount(to, minlength=n).cumsum()])
    c.idelays[:] = lags[to, source]
    cx = k.Cx8s(n, depth, items)
    cx.buf[:] = 0.1
    x = np.full((items, states, n, 8), 0.1, "f")
    z = np.full((items, states, 8), np.sqrt(2 * NOISE * dt), "f")
    told = {"mpr": [1.0, 0.0, 0.7, 14.5, -5.0, 0.01], "jr": [  # tau, I, Delta, J, eta, cr; TVB's
        3.25, 22.0, 0.1, 0.05, 5.52, 0.0025, 0.56, 135.0, 1.0, 0.8, 0.25, 0.25, 0.22, 0.0]}[name]
    p = np.broadcast_to(np.array(told, "f")[:, None], (items, n, parameters, 8)).copy()
    seed = np.random.default_rng(1).integers(1, 1 << 63, (items, 8, 4)).astype(np.uint64)
    every = round(1 / dt)  # a temporal average each ms
    y = np.zeros_like(x)
    started = time.perf_counter()
    for t in range(round(duration)):
        getattr(k, f"step_{name}")(cx, c, x, y, z, p, t * every, every, dt, seed)
    seconds = time.perf_counter() - started
    assert np.isfinite(y).all()
    return seconds / SETS


def tvboptim(name, weights, lengths, dt, duration):
    import jax
    import jax.numpy as jnp
    from tvboptim.experimental.network_dynamics import (
        DenseGraph,
        Network,
        SparseDelayGraph,
        prepare,
    )
    from tvboptim.experimental.network_dynamics import coupling as couplings
    from tvboptim.experimental.network_dynamics.dynamics import tvb
    from tvboptim.experimental.network_dynamics.noise import AdditiveNoise
    from tvboptim.experimental.network_dynamics.solvers import Heun

    if (name, dt, duration, lengths.any()) not in _RUNS:
        model, _, state = name.partition(".")
        noise = AdditiveNoise(sigma=float(np.sqrt(2 * NOISE)), key=jax.random.key(0))
        told = {"incoming_states": state, "G": 0.01}
        if lengths.any():
            kind, pair = "delayed", couplings.DelayedLinearCoupling(**told)
            graph = SparseDelayGraph(jnp.asarray(weights), jnp.asarray(lengths / SPEED))
        else:
            kind, pair = "instant", couplings.LinearCoupling(**told)
            graph = DenseGraph(jnp.asarray(weights))
        network = Network(getattr(tvb, model)(), {kind: pair}, graph, noise=noise)
        solve, config = prepare(network, Heun(), t0=0.0, t1=duration, dt=dt)

        def one(g):
            own = jax.tree.map(lambda x: x, config)
            own.coupling[kind].G = g
            y = solve(own).ys
            return y.reshape(-1, round(1 / dt), *y.shape[1:]).mean(1)  # of each ms

        _RUNS[name, dt, duration, lengths.any()] = jax.jit(jax.vmap(one))
    run = _RUNS[name, dt, duration, lengths.any()]
    started = time.perf_counter()
    y = run(jnp.linspace(0.005, 0.015, SETS)).block_until_ready()
    seconds = time.perf_counter() - started
    assert np.isfinite(y).all()
    return seconds / SETS


_RUNS: dict = {}  # what is compiled


def serve():
    for line in sys.stdin:
        task = json.loads(line)
        with np.load(task.pop("network")) as held:
            task |= {k: held[k] for k in ("weights", "lengths")}
        duration = task["duration"]
        peer = {"neurolib": neurolib, "tvbk": tvbk, "tvboptim": tvboptim}[task.pop("peer")]
        try:
            answer = peer(**task) / (duration / 1000)
        except Exception as cause:
            answer = f"{type(cause).__name__}: {cause}"
        print("answer", json.dumps(answer), flush=True)


# -- here --------------------------------------------------------------------------------------------

def main(python, *models):
    import subprocess

    from inferkit_tvb import connectome
    from tvb_models import component, interleaved, simulator_run, table, timed

    net = connectome.synthetic(68)
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            [python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ) as server:

        def there(peer, name, delays, dt, duration):
            np.savez(f"{folder}/{delays}.npz", weights=net.weights, lengths=net.lengths * delays)
            task = json.dumps({"peer": peer, "name": name, "network": f"{folder}/{delays}.npz",
                               "dt": dt, "duration": duration})

            def once():
                server.stdin.write(f"{task}\n")
                server.stdin.flush()
                while not (line := server.stdout.readline()).startswith("answer"):
                    assert line, "the peers' process has ended"
                answer = json.loads(line.removeprefix("answer"))
                if isinstance(answer, str):
                    raise RuntimeError(answer)
                return answer

            once()  # compiles
            return once

        for model in models or TASKS:
            dt, coupling, peers = TASKS[model]
            for delays in (True, False):
                more = dict(model=model, dt=dt, noise=NOISE, delays=delays, coupling=coupling,
                            defaults={"coupling.a": 0.01}, initial={})  # mid-range
                duration = 1000.0 if dt > 0.05 else 400.0
                runs = {"Simulator.run": simulator_run(duration / 4, **more)}
                runs |= {f"compiled, {n} set{'s' * (n > 1)}":
                         timed(component("compiled", duration, **more), n) for n in (1, SETS)}
                for peer, name in peers.items():
                    try:
                        runs[peer] = there(peer, name, delays, dt, duration)
                    except RuntimeError as cause:
                        print(f"  {peer} {name}: {cause}")
                table(f"{model}, dt {dt}, {'with' if delays else 'without'} delays", interleaved(runs),
                      "Simulator.run")
        server.stdin.close()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main(*sys.argv[1:])
