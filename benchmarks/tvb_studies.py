"""Studies of TVB: from parameters to features beside Simulator.run, and what is recovered.

    python benchmarks/tvb_studies.py [endtoend] [recovery] [hemispheres] [regions] [certificate]

`endtoend`: a study of 64 sets, stored, and its FC and FCD, beside Simulator.run and the same features
by numpy, in turns; `recovery`: the global coupling; `hemispheres`, `regions`: with excitability;
`certificate`: one study through three simulators.  One thread.
"""

import sys
import time

import numpy as np
from tvb_models import component, interleaved, table

import inferkit as ik


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
    study.fit()  # of the 288 that are not held out; 80 more are judged
    judged(study, 80)
    print(f"  {seconds / 320 / 11:.4f} s a simulated second end to end")
    print(study.check(only=["sbc", "coverage", "contraction"]))


def hemispheres(path="runs/tvb-hemispheres", simulations=2000, regional=False):
    """G and the excitability of each hemisphere from BOLD of 4 minutes: 20 regions, Wong-Wang.

    `regional`: of each region instead, 21 parameters.
    """
    paths = ("model.I_o",) if regional else ("model.I_o@left", "model.I_o@right")
    simulator = component("compiled", 240_000.0, model="ReducedWongWang", connectivity="synthetic-20",
                          dt=1.0, transient=20_000.0, noise=1e-5, initial={"S": 0.1},
                          **{"regional" if regional else "groups": paths}, defaults={"model.w": 0.9},
                          monitors=[{"kind": "Bold", "period": 1000.0}])
    one = ik.Normal(0.3, 0.01, shape=(20,) if regional else ())
    prior = {"coupling.a": ik.Uniform(0.0, 0.3)} | dict.fromkeys(paths, one)
    study = ik.Study(simulator, ik.Prior(prior), path=path, seed=1, estimator="npe",
                     features=[ik.feature("stats", which=["mean", "sd"]),
                               ik.feature("fc", which=["mean", "sd", "quantiles"]),
                               ik.feature("fcd", window=40_000.0, step=8000.0)],
                     executor=ik.executor("local", workers=0))
    study.simulate(simulations)
    study.fit()
    judged(study, 100)


def regions(path="runs/tvb-regions"):
    hemispheres(path, 2000, regional=True)


def judged(study, n):
    """Of fresh simulations of the prior: r, RMSE and the 90 % intervals' coverage of each parameter."""
    fresh = study.run_round(study.prior.pack(study.prior.sample(n, np.random.default_rng(5))), "judge")
    truth = study.prior.pack(fresh.theta)
    draws = study.posterior.sample_batch(1000, study.view().of(fresh), np.random.default_rng(6))
    (low, high), mean = np.quantile(draws, [0.05, 0.95], axis=1), draws.mean(1)
    held = (truth > low) & (truth < high)
    prior = study.prior.pack(study.prior.sample(4000, np.random.default_rng(7))).std(0)
    for k, name in enumerate(study.prior.names):
        print(f"  {name:<20} r {np.corrcoef(mean[:, k], truth[:, k])[0, 1]:.4f}, RMSE "
              f"{np.sqrt(np.mean((mean[:, k] - truth[:, k]) ** 2)):.4f} (prior sd {prior[k]:.4f}), "
              f"90 % coverage {held[:, k].mean():.3f}")


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
    for name in sys.argv[1:] or ["endtoend", "recovery"]:
        {"endtoend": endtoend, "recovery": recovery, "hemispheres": hemispheres, "regions": regions,
         "certificate": certificate}[name]()
