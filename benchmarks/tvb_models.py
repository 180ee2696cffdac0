"""TVB through inferkit beside TVB itself: speed, how cost grows, how far from the machine's limit.

    python benchmarks/tvb_models.py [speed] [models] [growth] [limit]

`speed`: MPR of 68 regions at dt 0.01 ms, temporal average of 1 ms and BOLD, with and without delays:
Simulator.run, TVB's NbMPRBackend, the compiled kernels with 1, 16 and 64 sets.  All within one run, in
turns; medians; the ratio is to Simulator.run.  One thread.  Seconds are wall seconds a simulated second
a parameter set.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time
import warnings

import numpy as np

import inferkit as ik

warnings.simplefilter("ignore")
ROUNDS = 3
TAVG = [{"kind": "TemporalAverage", "period": 1.0}]
BOLD = [{"kind": "Bold", "period": 100.0}]


def component(engine, duration, **more):
    return ik.simulator("tvb", **dict(
        connectivity="synthetic-68", dt=0.01, duration=duration, noise=0.001, engine=engine,
        monitors=TAVG, defaults={"coupling.a": 0.3}) | more)


def timed(component, sets):
    built = component.build()
    theta = {"coupling.a": np.linspace(0.1, 0.3, sets)}
    built.simulate({k: v[:1] for k, v in theta.items()},
                   np.arange(1)) if built.engine.name != "tvb" else 0

    def once():
        started = time.perf_counter()
        x = built.simulate(theta, np.arange(sets))
        seconds = time.perf_counter() - started
        assert all(np.isfinite(v).all() for v in x.values())  # a run that diverged would stop early
        return seconds / sets / (component.config.duration / 1000)

    return once


def simulator_run(duration, delays, told=TAVG, **more):
    """Simulator.run alone: built and configured before the clock starts."""
    from inferkit_tvb import assemble, plain

    c = component("tvb", duration, delays=delays, monitors=told, **more).config

    def once():
        sim = assemble.template(c)
        for k, v in (c.defaults or {}).items():
            setattr(getattr(sim, k.partition(".")[0]), k.partition(".")[2], np.array([v]))
        plain.start(sim, c, 1)
        started = time.perf_counter()
        sim.run()
        return (time.perf_counter() - started) / (duration / 1000)

    return once


def nb_mpr(duration, delays):
    from inferkit_tvb import assemble, plain
    from tvb.simulator.backend.nb_mpr import NbMPRBackend

    c = component("tvb", duration, delays=delays).config

    def once():
        sim = assemble.template(c)
        sim.coupling.a = np.array([0.3])
        plain.start(sim, c, 1)
        started = time.perf_counter()
        NbMPRBackend().run_sim(sim, simulation_length=duration)
        return (time.perf_counter() - started) / (duration / 1000)

    return once


def interleaved(runs, rounds=ROUNDS):
    spent = {name: [] for name in runs}
    for _ in range(rounds):
        for name, once in runs.items():
            try:
                spent[name].append(once())
            except Exception as cause:
                spent[name].append(float("nan"))
                print(f"  {name}: {type(cause).__name__}: {str(cause)[:90]}")
    return {name: statistics.median(v) for name, v in spent.items()}


def table(title, found, base):
    print(f"\n{title}")
    for name, seconds in found.items():
        print(f"  {name:<34}{seconds:9.4f} s   {found[base] / seconds:7.1f} x", flush=True)


def speed():
    for delays in (True, False):
        for word, told in (("TemporalAverage", TAVG), ("Bold", BOLD)):
            runs = {"Simulator.run": simulator_run(200.0, delays, told)}
            if told is TAVG:
                runs["NbMPRBackend (1 s)"] = nb_mpr(1000.0, delays)
            for sets in (1, 16, 64):
                runs[f"compiled, {sets} sets"] = timed(
                    component("compiled", 1000.0 if sets < 64 else 500.0, delays=delays,
                              monitors=told), sets)
            table(f"MPR, 68 regions, dt 0.01, {word}, {'with' if delays else 'without'} delays",
                  interleaved(runs), "Simulator.run")


MODELS = {"Kuramoto": "Kuramoto", "Generic2dOscillator": "Linear", "SupHopf": "Difference",
          "JansenRit": "SigmoidalJansenRit", "Epileptor": "Difference", "Epileptor2D": "Difference",
          "ReducedWongWang": "Linear", "ReducedWongWangExcInh": "Linear", "WilsonCowan": "Linear",
          "Linear": "Linear"}


def models():
    for model, coupling in MODELS.items():
        for delays in (True, False):
            more = dict(model=model, coupling=coupling, dt=0.1, noise=1e-5,
                        defaults={"coupling.a": 0.01})
            runs = {"Simulator.run": simulator_run(1000.0, delays, **more),
                    "compiled, 16 sets": timed(component("compiled", 2000.0, delays=delays, **more),
                                               16)}
            table(f"{model}, dt 0.1, {'with' if delays else 'without'} delays", interleaved(runs),
                  "Simulator.run")
    more = dict(model="ReducedSetHindmarshRose", dt=0.02, noise=1e-4, defaults={"coupling.a": 0.01})
    runs = {"Simulator.run": simulator_run(40.0, True, **more),
            "blocks, 16 sets": timed(component("blocks", 40.0, batch=16, **more), 16)}
    table("ReducedSetHindmarshRose (any model: blocks)", interleaved(runs), "Simulator.run")


def growth():
    import resource

    print("\nHow cost grows (compiled, with delays): s a simulated second a set; peak memory so far")
    for regions in (68, 200, 400, 1000):
        for sets in (1, 16, 64) if regions < 1000 else (1, 16):
            once = timed(component("compiled", 100.0, connectivity=f"synthetic-{regions}"), sets)
            s = statistics.median(once() for _ in range(2))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {regions:>5} regions, {sets:>2} sets {s:9.4f}   {peak:8.0f} MB", flush=True)
    for seconds in (1, 10, 60, 600):
        once = timed(component("compiled", seconds * 1000.0, dt=0.1, monitors=[
            {"kind": "Bold", "period": 1000.0}]), 8)
        s = once()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {seconds:>5} s of BOLD, dt 0.1, 8 sets {s:9.4f}   {peak:8.0f} MB", flush=True)


def limit(sets=16):
    """What a step of a set costs: operations and bytes counted, beside what this core can do."""
    from inferkit_tvb import expressions as ex

    for delays in (True, False):
        component_ = component("compiled", 1000.0, delays=delays)
        built = component_.build()
        built.prepare()
        engine = built.engine._used
        eq, weights = engine.kernel(frozenset())[0], engine.weights
        nodes, left = set(), [*eq.derivatives, *(e for _, e in eq.inputs)]
        while left:
            x = left.pop()
            if x.args and x not in nodes and not ex.fixed(x):
                nodes.add(x)
                left += x.args
        # Both stages, the update with its compensation, and noise: two words, log, root, sin, cos.
        per_node = 2 * len(nodes) + 12 * len(eq.states) + 35 * len(eq.noisy)
        edges = np.count_nonzero(weights) * len(eq.sources)
        operations, read = 2 * edges + per_node * len(weights), 4 * edges
        s = statistics.median(timed(component_, sets)() for _ in range(3)) / 1e5
        print(f"\nA step of a set {'with' if delays else 'without'} delays:"
              f" {operations / 1e3:.1f} kFLOP ({edges * 2 / 1e3:.1f} of edges),"
              f" {read / 1e3:.1f} kB of sources, {s * 1e6:.2f} us:"
              f" {operations / s / 1e9:.1f} GFLOP/s, {read / s / 1e9:.1f} GB/s")
    a = np.ones((1024, 1024), np.float32)
    ring = np.ones(5_000_000, np.float32)  # as large as the ring of 16 sets

    def best(f):
        spent = []
        for _ in range(7):
            started = time.perf_counter()
            f()
            spent.append(time.perf_counter() - started)
        return min(spent)

    print(f"This core: {2 * 1024**3 / best(lambda: a @ a) / 1e9:.0f} GFLOP/s in a product of matrices,"
          f" {ring.nbytes / best(ring.sum) / 1e9:.0f} GB/s summing up 20 MB")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["speed", "models", "growth", "limit"]:
        {"speed": speed, "models": models, "growth": growth, "limit": limit}[name]()
