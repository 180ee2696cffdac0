"""TVB through inferkit beside TVB itself: speed, how cost grows, and recovery of the global coupling.

    python benchmarks/tvb_models.py [speed] [models] [growth] [endtoend] [recovery] [certificate]

`speed`: MPR of 68 regions at dt 0.01 ms, temporal average of 1 ms and BOLD, with and without delays:
Simulator.run, TVB's NbMPRBackend, the compiled kernels with 1, 16 and 64 sets.  All within one run, in
turns; medians; the ratio is to Simulator.run.  One thread.  Seconds are wall seconds a simulated second
a parameter set.

`endtoend`: from parameters to features: a study of 64 sets, stored, and its FC and FCD, beside
Simulator.run and the same features by numpy.
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
        built.simulate(theta, np.arange(sets))
        return (time.perf_counter() - started) / sets / (component.config.duration / 1000)

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
        for sets in (1, 16):
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


def endtoend(duration=1000.0, sets=64):
    """Parameters to features on disk: FC of 68 regions and the FCD of ten windows."""
    import tempfile

    from inferkit_tvb import assemble, plain

    component_ = component("auto", duration, monitors=[{"kind": "TemporalAverage", "period": 1.0,
                                                        "variables": ["r"]}])
    features = [ik.feature("fc"), ik.feature("fcd", which=["triangle"], window=duration / 4,
                                             step=duration / 12)]
    prior, turn = ik.Prior({"coupling.a": ik.Uniform(0.1, 0.3)}), iter(range(100))
    held = tempfile.TemporaryDirectory()

    def study():
        k = next(turn)
        made = ik.Study(component_, prior, features=features, path=f"{held.name}/{k}", seed=k,
                        executor=ik.executor("local", workers=0), quiet=True)
        started = time.perf_counter()
        made.simulate(sets if k else 1)  # the first compiles
        found = made.view().of(made.simulations)["features"]
        assert len(found) == (sets if k else 1)
        return (time.perf_counter() - started) / sets

    def by_hand(y):
        """FC and FCD of (time, region), pairs i < j."""
        pairs, width = np.triu_indices(y.shape[1], 1), round(duration / 4)
        windows = [np.corrcoef(y[a:a + width].T)[pairs]
                   for a in range(0, len(y) - width + 1, round(duration / 12))]
        return np.concatenate([np.corrcoef(y.T)[pairs],
                               np.corrcoef(windows)[np.triu_indices(len(windows), 1)]])

    def tvb():
        k = next(turn)
        started = time.perf_counter()
        sim = assemble.template(component_.config)
        sim.coupling.a = np.array([0.2])
        plain.start(sim, component_.config, k)
        (_, y), = sim.run()
        by_hand(y[:, 0, :, 0])
        return time.perf_counter() - started

    study()
    table(f"MPR, 68 regions, dt 0.01, delays, {duration:g} ms, a set, to FC and FCD",
          interleaved({"Simulator.run, numpy": tvb, f"a study of {sets} sets": study}),
          "Simulator.run, numpy")
    made = ik.Study(component_, prior, features=features, path=f"{held.name}/0", seed=0, quiet=True)
    own = made.view().of(made.simulations)["features"][0]
    np.testing.assert_allclose(own, by_hand(made.simulations.x()["average"][0]), rtol=1e-4, atol=1e-5)
    held.cleanup()


def recovery(path="runs/tvb-recovery"):
    """G of 68 regions from 320 simulations of 10 s; 80 fresh ones judged."""
    simulator = component("compiled", 10_000.0, dt=0.1, transient=1000.0, noise=(0.0, 0.05),
                          initial={"r": 0.1, "V": -2.0}, defaults={"model.J": 14.5, "model.eta": -5.3},
                          monitors=[{"kind": "TemporalAverage", "period": 10.0, "variables": ["r"]},
                                    {"kind": "GlobalAverage", "period": 10.0, "name": "whole"}])
    study = ik.Study(simulator, ik.Prior({"coupling.a": ik.Uniform(0.0, 0.3)}), path=path, seed=1,
                     features=[ik.feature("stats", output="whole.V", which=["mean", "sd"]),
                               ik.feature("fc", output="average", which=["mean", "sd"]),
                               ik.feature("fcd", output="average", window=800.0, step=200.0)],
                     estimator="npe", executor=ik.executor("local", workers=0))
    started = time.perf_counter()
    study.simulate(320)
    seconds = time.perf_counter() - started
    posterior = study.fit()  # of the 288 that are not held out; 80 more are judged
    fresh = study.run_round(study.prior.pack(study.prior.sample(80, np.random.default_rng(5))), "judge")
    inputs = study.view().of(fresh)
    truth = fresh.theta["coupling.a"]
    draws = posterior.sample_batch(1000, inputs, np.random.default_rng(6))[..., 0]
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    mean = draws.mean(1)
    r, rmse = np.corrcoef(mean, truth)[0, 1], np.sqrt(np.mean((mean - truth) ** 2))
    covered = np.mean((truth > low) & (truth < high))
    print(f"\nRecovery of G: r {r:.4f}, RMSE {rmse:.4f} (prior sd {0.3 / np.sqrt(12):.4f}),"
          f" 90 % coverage {covered:.3f};"
          f" {seconds / 320 / 11:.4f} s a simulated second end to end")
    print(study.check(only=["sbc", "coverage", "contraction"]))


def certificate(path="runs/tvb-certificate", simulations=300):
    """One study, one observation, three simulators: the posteriors of G side by side.

    TVB's Simulator, the compiled kernels and `vbjax` (whose second Heun stage has a coupling of
    its own) run the same network of 10 regions without delays.
    """
    from inferkit_tvb import connectome

    weights = connectome.synthetic(10).weights
    common = dict(dt=0.1, transient=100.0, duration=300.0)
    tvb = dict(connectivity="synthetic-10", delays=False, noise=(0.0, 0.005),
               initial={"r": 0.1, "V": -2.0},
               defaults={"model.J": 14.5, "model.eta": -5.3},
               monitors=[{"kind": "TemporalAverage", "period": 10.0, "variables": ["r"]}], **common)
    simulators = {
        "tvb": (ik.simulator("tvb", engine="tvb", **tvb), "coupling.a"),
        "compiled": (ik.simulator("tvb", engine="compiled", **tvb), "coupling.a"),
        "vbjax": (ik.simulator(
            "vbjax", mass="mpr", nodes=10, connectome=weights.tolist(), noisy=["V"],
            sigma=float(np.sqrt(2 * 0.005)), batch=50, **common,
            defaults={"model.J": 14.5, "model.eta": -5.3, "initial.r": 0.1, "initial.V": -2.0},
            monitors=[{"kind": "average", "of": "r", "period": 10.0}]), "coupling.k")}
    truth = {"coupling.a": np.array([0.3])}
    seen = simulators["tvb"][0].build().simulate(truth, np.array([123]))["average"]
    draws = {}
    for name, (simulator, parameter) in simulators.items():
        study = ik.Study(simulator, ik.Prior({parameter: ik.Uniform(0.0, 0.6)}), path=f"{path}/{name}",
                         seed=1, features=[whole], estimator="npe",
                         executor=ik.executor("local", workers=0), quiet=True)
        study.simulate(simulations)
        study.fit()
        draws[name] = study.posterior.sample(4000, {"average": seen[0]})[parameter]
        print(f"  {name:<10} G = {draws[name].mean():.4f} +- {draws[name].std():.4f}", flush=True)
    for name in ("compiled", "vbjax"):
        apart = (draws[name].mean() - draws["tvb"].mean()) / draws["tvb"].std()
        ratio = draws[name].std() / draws["tvb"].std()
        print(f"  {name} from tvb: {apart:+.2f} sd, sd ratio {ratio:.2f}")
    picture(draws, 0.3, f"{path}/certificate.svg")


def picture(draws, truth, file):
    """The posteriors over each other."""
    import matplotlib

    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib.figure import Figure
    from scipy.stats import gaussian_kde

    figure = Figure(figsize=(6, 2.8), layout="constrained")
    ax = figure.subplots()
    at = np.linspace(0.18, 0.42, 120)
    for (name, g), style in zip(draws.items(), ("-", "--", ":")):
        ax.plot(at, gaussian_kde(g)(at), style, lw=2, label=name)
    ax.axvline(truth, color="0.5", lw=1)
    ax.set(xlabel="global coupling G", ylabel="posterior density", yticks=[], xlim=(0.18, 0.42))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    print(f"  picture: {file}")


def whole(x, outputs):
    """The mean over time and regions, and the logarithm of the regions' mean sd."""
    a = np.asarray(x["average"], float)
    return {"mean": a.mean((1, 2)), "sd": np.log(a.std(1).mean(1))}


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["speed", "models", "growth", "recovery"]
    for name in chosen:
        {"speed": speed, "models": models, "growth": growth, "endtoend": endtoend, "recovery": recovery,
         "certificate": certificate}[name]()
