"""Observations that the model cannot make: which check flags them, and how often it does so wrongly.

    python benchmarks/typicality.py [SIMULATIONS] [ESTIMATOR] [OBSERVATIONS]

A LIF neuron's trace, inferred by an estimator with a learned embedding; then observations of the same
neuron under another current, with adaptation, with other noise and so on.  Told is the share that is
not PASS, by `typicality` (learned summaries), `misspecification` (the trace) and `predictive` (traces
simulated from the posterior), and by any of them; "as assumed" are false alarms.
"""

import os
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik

BASE = {"outputs": ["V"], "duration": 200.0}
CASES = {
    "as assumed": {}, "sine, not pulse": {"current": "sinusoidal", "frequency": 20.0},
    "current x 2": {"amplitude": 500.0}, "onset 40 ms late": {"onset": 60.0},
    "noise 2 mV, not 1": {"noise_sd": 2.0}, "process noise": {"process_noise": 1.0},
    "spikes drawn in": {"spike_peak": 30.0}, "refractory 5 ms": {"refractory": 5.0},
}
CHECKS = ("typicality", "misspecification", "predictive")


def adapting(theta, seed, strength=0.15, tau=60.0):
    """The neuron with an adaptation current that grows by `strength` mV/ms at each spike."""
    config = ik.simulator("lif", **BASE).build().config
    t = np.arange(config.steps) * config.dt
    current = np.where((t >= config.onset) & (t < config.offset), config.amplitude, 0.0)
    v, a, trace = theta["V_rest"], 0.0, []
    for i in current:
        trace.append(v)
        v += config.dt * ((theta["V_rest"] - v) / theta["tau"] + i / theta["C"] - a)
        a *= np.exp(-config.dt / tau)
        if v >= theta["V_th"]:
            v, a = theta["V_rest"], a + strength
    return np.array(trace) + np.random.default_rng(seed).standard_normal(len(t))


def observations(prior, m):
    theta = prior.sample(m, np.random.default_rng(5))
    seeds = np.arange(1000, 1000 + m, dtype=np.uint64)
    for name, changed in CASES.items():
        yield name, ik.simulator("lif", **{**BASE, **changed}).build().simulate(theta, seeds)["V"]
    yield "adaptation", np.stack([adapting({k: v[i] for k, v in theta.items()}, i) for i in range(m)])


def main(simulations=10_000, estimator="npe", m=40):
    lif = ik.simulator("lif", **BASE)
    prior = lif.build().default_prior()
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(lif, prior, path=folder, seed=2, quiet=True, estimator=estimator,
                         executor=ik.executor("local", workers=0))
        study.simulate(simulations)
        study.fit()
        print(f"{estimator}, {simulations:,} simulations, {m} observations a row; share flagged")
        print(f"{'':20}" + "".join(f"{c:>18}" for c in (*CHECKS, "any")))
        for name, traces in observations(prior, m):
            flagged = []
            for v in traces:
                checks = study.check({"V": v}, only=list(CHECKS))
                bad = {c.name.partition(".")[0] for c in checks if c.status in ("WARN", "FAIL")}
                flagged.append([c in bad for c in CHECKS] + [bool(bad)])
            print(f"{name:20}" + "".join(f"{s:18.0%}" for s in np.mean(flagged, axis=0)), flush=True)


if __name__ == "__main__":
    told = sys.argv[1:]
    main(*([int(told[0])] if told else []), *told[1:2], *map(int, told[2:3]))
