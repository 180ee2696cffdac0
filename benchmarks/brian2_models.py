# ruff: noqa: B023, E501 - calls are timed at once, in the loop that binds them
"""Brian2 models beside the method of brian2modelfitting, in one run.

    python benchmarks/brian2_models.py speed       # Hodgkin-Huxley, batches of 1 to 10,000
    python benchmarks/brian2_models.py native      # spikes only, beside a loop written by hand in C++
    python benchmarks/brian2_models.py network     # 100 neurons, 500 ms, beside a network built anew
    python benchmarks/brian2_models.py recovery    # gNa and gK against an exact posterior on a grid
    python benchmarks/brian2_models.py membrane    # an OU membrane against its Kalman posterior
    python benchmarks/brian2_models.py ei          # two parameters of a network: recovered, calibrated

brian2modelfitting 0.4 does not import with numpy 2, so its way is rebuilt here in plain Brian2: one
group of samples, made anew in each call, a state and a spike monitor, Cython, and features as Python
functions of one trace each.  Runs are interleaved; the figures are medians.  CPU seconds are those of
the process and its children: other work on the machine disturbs them less than wall time.  Compiled
programs stay between calls: they are timed over several calls, their start and end included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from inferkit_brian2 import resident  # noqa: E402

import inferkit as ik  # noqa: E402
from inferkit import seeds  # noqa: E402

warnings.filterwarnings("ignore")

HH = """
dv/dt = (gl*(El - v) - g_na*m**3*h*(v - ENa) - g_kd*n**4*(v - EK) + I)/Cm : volt
dm/dt = 0.32*4/exprel((13 - (v - VT)/mV)/4)/ms*(1 - m) - 0.28*5/exprel(((v - VT)/mV - 40)/5)/ms*m : 1
dh/dt = 0.128*exp((17*mV - v + VT)/(18*mV))/ms*(1 - h) - 4/(1 + exp((40*mV - v + VT)/(5*mV)))/ms*h : 1
dn/dt = 0.032*5/exprel((15 - (v - VT)/mV)/5)/ms*(1 - n) - 0.5*exp((10*mV - v + VT)/(40*mV))/ms*n : 1
"""
SPACE = {"El": "-65 mV", "ENa": "50 mV", "EK": "-90 mV", "VT": "-63 mV"}
RANGES = {"g_na": (20, 60), "g_kd": (2, 10), "gl": (5, 20), "Cm": (150, 300)}
STEPS, DT = 4000, 0.05
SUMMARIES = [{"of": "v", "kind": k} for k in ("max", "mean", "sd")]


def hh(**settings):
    told = dict(
        equations=HH,
        threshold="v > -20*mV",
        refractory="v > -20*mV",
        method="exponential_euler",
        namespace=SPACE,
        dt="0.05 ms",
        initial={"v": "El"},
        duration="200 ms",
        engine="cpp",
        parameters={"g_na": "32 uS", "g_kd": "6 uS", "gl": "10 nS", "Cm": "200 pF"},
        inputs={"I": {"steps": ["1 nA"], "onset": "20 ms", "end": "180 ms"}},
    )
    return ik.simulator("brian2", **{**told, **settings})


def draw(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {k: rng.uniform(*r, n) for k, r in RANGES.items()}


def clock() -> np.ndarray:
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used)])


def timed(call, times: int = 1) -> np.ndarray:
    """(wall, CPU) seconds of a call, of so many in a row; children count once they have ended."""
    before = clock()
    for _ in range(times):
        call()
    resident.stop_all()
    return (clock() - before) / times


class Peer:
    """A group made anew for each batch, Cython, features trace by trace."""

    def __init__(self):
        import brian2 as b

        self.b = b
        current = np.where((np.arange(STEPS) * DT >= 20) & (np.arange(STEPS) * DT < 180), 1.0, 0.0)
        self.current = b.TimedArray(current * b.nA, dt=DT * b.ms)
        b.prefs.codegen.target = "cython"

    def __call__(self, theta: dict[str, np.ndarray]) -> np.ndarray:
        b = self.b
        b.start_scope()
        space = {k: float(v[:-3]) * b.mV for k, v in SPACE.items()} | {"current": self.current}
        units = {"g_na": b.uS, "g_kd": b.uS, "gl": b.nS, "Cm": b.pF}
        told = "\n".join(f"{k} : {'farad' if k == 'Cm' else 'siemens'} (constant)" for k in units)
        n = len(theta["Cm"])
        group = b.NeuronGroup(
            n,
            HH + "I = current(t) : amp\n" + told,
            threshold="v > -20*mV",
            refractory="v > -20*mV",
            method="exponential_euler",
            namespace=space,
            dt=DT * b.ms,
            name="neurons",
        )
        group.v = "El"
        for k, u in units.items():
            setattr(group, k, theta[k] * u)
        trace, spikes = b.StateMonitor(group, "v", record=True, name="traces"), b.SpikeMonitor(group)
        b.Network(group, trace, spikes).run(STEPS * DT * b.ms, namespace={})
        count, v = np.asarray(spikes.count), trace.v_
        return np.array([[np.max(v[i]), np.mean(v[i]), np.std(v[i]), count[i]] for i in range(n)])


def speed() -> None:
    peer = Peer()
    online, traces = hh(record=(), summaries=SUMMARIES).build(), hh(record=("v",)).build()
    spikes = hh(record=()).build()
    for s in (online, traces, spikes):
        s.prepare()
    peer(draw(1))

    def ours(simulator, theta, n):
        x = simulator.simulate(theta, seeds.row_seeds(0, 0, np.arange(n)))
        v = x.get("v")
        return x if v is None else np.stack([v.max(1), v.mean(1), v.std(1), x["spikes"].lengths], 1)

    theta = draw(64)
    gap = np.abs(ours(traces, theta, 64)[:, :3] - 1e3 * peer(theta)[:, :3]).max()
    print(f"features of both differ by {gap:.2g} mV at most")
    for n, repeats, times in ((1, 9, 20), (10, 9, 20), (100, 5, 10), (1000, 3, 2), (10000, 1, 1)):
        theta = draw(n)
        calls = {
            "peer": lambda: peer(theta),
            "traces": lambda: ours(traces, theta, n),
            "online": lambda: ours(online, theta, n),
            "spikes": lambda: ours(spikes, theta, n),
        }
        taken = {k: [] for k in calls}
        for _ in range(repeats):
            for name, call in calls.items():
                taken[name].append(timed(call, 1 if name == "peer" else times))
        median = {k: np.median(v, axis=0) for k, v in taken.items()}
        print(
            f"batch {n:>6}: "
            + ", ".join(
                f"{k} {n / m[0]:.0f}/s"
                + (
                    ""
                    if k == "peer"
                    else f" (x{median['peer'][0] / m[0]:.1f} wall, x{median['peer'][1] / m[1]:.1f} CPU)"
                )
                for k, m in median.items()
            ),
            flush=True,
        )


NATIVE = r"""
#include <cmath>
#include <cstdio>
#include <vector>
int main() {
    const int N = 1024, T = 4000;
    const double dt = 0.05;
    std::vector<double> v(N, -65), m(N, 0), h(N, 0), n(N, 0), gna(N), gk(N), gl(N), C(N);
    std::vector<char> silent(N, 1), spike(N, 0);
    for (int i = 0; i < N; i++) {
        gna[i] = 20 + 40.0 * i / N; gk[i] = 2 + 8.0 * ((i * 7) % N) / N;
        gl[i] = 0.005 + 0.015 * ((i * 13) % N) / N; C[i] = 0.15 + 0.15 * ((i * 29) % N) / N;
    }
    long count = 0;
    double *V = v.data(), *M = m.data(), *H = h.data(), *K = n.data();
    for (int k = 0; k < T; k++) {
        const double I = (k >= 400 && k < 3600) ? 1.0 : 0.0;
        #pragma GCC ivdep
        for (int i = 0; i < N; i++) {
            const double u = V[i] + 63;
            const double am = 0.32 * (13 - u) / (exp((13 - u) / 4) - 1), bm = 0.28 * (u - 40) / (exp((u - 40) / 5) - 1);
            const double ah = 0.128 * exp((17 - u) / 18), bh = 4 / (1 + exp((40 - u) / 5));
            const double an = 0.032 * (15 - u) / (exp((15 - u) / 5) - 1), bn = 0.5 * exp((10 - u) / 40);
            const double m3 = M[i] * M[i] * M[i], n4 = K[i] * K[i] * K[i] * K[i];
            const double g = (gl[i] + gna[i] * m3 * H[i] + gk[i] * n4) / C[i];
            const double e = (gl[i] * -65 + gna[i] * m3 * H[i] * 50 + gk[i] * n4 * -90 + I) / C[i];
            M[i] = am / (am + bm) + (M[i] - am / (am + bm)) * exp(-dt * (am + bm));
            H[i] = ah / (ah + bh) + (H[i] - ah / (ah + bh)) * exp(-dt * (ah + bh));
            K[i] = an / (an + bn) + (K[i] - an / (an + bn)) * exp(-dt * (an + bn));
            V[i] = e / g + (V[i] - e / g) * exp(-dt * g);
        }
        for (int i = 0; i < N; i++) {
            const char now = V[i] > -20;
            count += now && silent[i];
            silent[i] = !now;
        }
    }
    std::printf("%ld\n", count);
}
"""


def native() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "loop.cpp", Path(folder) / "loop"
        source.write_text(NATIVE)
        subprocess.run(
            ["g++", "-O3", "-march=native", "-ffast-math", str(source), "-o", str(program)], check=True
        )
        simulator = hh(record=()).build()
        simulator.prepare()
        theta = draw(1024)
        taken = {"hand": [], "inferkit": []}
        for _ in range(9):
            taken["hand"].append(
                timed(lambda: subprocess.run([str(program)], check=True, capture_output=True))
            )
            taken["inferkit"].append(
                timed(lambda: simulator.simulate(theta, np.arange(1024, dtype=np.uint64)), 5)
            )
    cpu = {k: np.median(v, axis=0)[1] for k, v in taken.items()}
    print(
        f"CPU seconds of 1,024 neurons: {cpu}; share of the loop by hand {cpu['hand'] / cpu['inferkit']:.2f}"
    )


# -- a network -------------------------------------------------------------------------------------

E, INH = 80, 20
EQS = """
dv/dt = (EL - v + drive + g)/tau + noise*sqrt(2/tau)*xi : volt (unless refractory)
g = ge*(0*mV - v) + gi*(-80*mV - v) : volt
dge/dt = -ge/(5*ms) : 1
dgi/dt = -gi/(10*ms) : 1
w : 1 (constant)
drive : volt (constant)
"""


def side_by_side(n):
    import inferkit_brian2 as ib
    from brian2 import Network, NeuronGroup, SpikeMonitor, Synapses, ms, mV

    space = {"EL": -65 * mV, "tau": 20 * ms, "noise": 3 * mV}
    common = dict(
        threshold="v > -50*mV", reset="v = -60*mV", refractory=2 * ms, method="euler", namespace=space
    )
    exc, inh = (
        NeuronGroup(n * size, EQS, name=name, **common) for name, size in (("exc", E), ("inh", INH))
    )
    objects = [exc, inh]
    for pre, size, effect in ((exc, E, "ge_post += w_post"), (inh, INH, "gi_post += 4*w_post")):
        for post, many in ((exc, E), (inh, INH)):
            s = Synapses(pre, post, on_pre=effect, name=f"{pre.name}_{post.name}")
            s.connect(j=ib.within(size, many, 0.2))
            objects.append(s)
    objects.append(SpikeMonitor(exc, name="exc_spikes"))
    objects.append(SpikeMonitor(inh, name="inh_spikes"))

    def begin():
        exc.v = "EL + rand()*10*mV"
        inh.v = "EL + rand()*10*mV"

    return Network(objects), begin


def make(rows: int = 100, engine: str = "cpp", duration: str = "500 ms"):
    import inferkit_brian2 as ib

    return ib.network(
        batch=side_by_side,
        duration=duration,
        rows=rows,
        engine=engine,
        parameters={"exc.w": 0.05, "exc.drive": "18 mV", "inh.w": 0.05, "inh.drive": "14 mV"},
        outputs={
            "rate": {"monitor": "exc_spikes", "kind": "rate", "size": E, "bin": "20 ms"},
            "inh": {"monitor": "inh_spikes", "kind": "rate", "size": INH, "bin": "20 ms"},
        },
    )


def network() -> None:
    fast, anew = make(), make(engine="cython")
    fast.prepare()
    anew.simulate({}, seeds.row_seeds(0, 0, np.arange(1)))  # Cython compiles
    taken = {"fast": [], "anew": []}
    for k in range(3):
        w = {"exc.w": np.linspace(0.02, 0.08, 200)}
        taken["fast"].append(
            timed(lambda: fast.simulate(w, seeds.row_seeds(k, 0, np.arange(200)))) / 200
        )  # noqa: B023
        taken["anew"].append(timed(lambda: anew.simulate({}, seeds.row_seeds(k, 0, np.arange(8)))) / 8)  # noqa: B023
    a, f = (np.median(taken[k], axis=0) for k in ("anew", "fast"))
    print(
        f"built anew {1 / a[1]:.1f}/s of CPU, side by side {1 / f[1]:.0f}/s: x{a[1] / f[1]:.0f} CPU, x{a[0] / f[0]:.0f} wall"
    )


# -- recovery --------------------------------------------------------------------------------------

NOISE = np.array([1.0, 0.5, 0.5, 0.1, 0.5])  # sd of the observation's features


def recovery(simulations: int = 15000) -> None:
    """Features of a trace with noise of known size: the likelihood is Gaussian, the grid's posterior exact."""
    summaries = [
        *SUMMARIES,
        {"of": "v", "kind": "mean", "start": "0 ms", "stop": "20 ms", "name": "rest"},
    ]
    low, high = np.array([20.0, 0.5]), np.array([60.0, 2.0])
    settings = dict(
        record=(),
        summaries=summaries,
        duration="350 ms",
        block=1024,
        inputs={"I": {"steps": ["1 nA"], "onset": "50 ms", "end": "300 ms"}},
        parameters={"g_na": "32 uS", "g_kd": "1 uS", "gl": "10 nS", "Cm": "200 pF"},
    )

    def clean(x):
        return np.stack([x["v.max"], x["v.mean"], x["v.sd"], x["rest"], x["spikes"].lengths], 1)

    part = hh(**settings)
    simulator = part.build()
    truth = simulator.simulate(
        {"g_na": np.array([32.0]), "g_kd": np.array([1.0])}, np.zeros(1, np.uint64)
    )
    observed = clean(truth)[0] + NOISE * np.random.default_rng(0).standard_normal(5)
    k = 201
    grid = np.stack(
        np.meshgrid(*(np.linspace(a, b, k) for a, b in zip(low, high)), indexing="ij"), -1
    ).reshape(-1, 2)
    x = clean(
        simulator.simulate({"g_na": grid[:, 0], "g_kd": grid[:, 1]}, np.zeros(len(grid), np.uint64))
    )
    log = -0.5 * (((x - observed) / NOISE) ** 2).sum(1)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    print(f"grid: {mean} ± {sd}; truth {clean(truth)[0][-1]:.0f} spikes")
    rng = np.random.default_rng(1)
    exact = grid[rng.choice(len(grid), 2000, p=weight)] + (rng.random((2000, 2)) - 0.5) * (
        high - low
    ) / (k - 1)

    class Noisy:
        """The simulator with the observation's noise."""

        parameters, outputs, stochastic = simulator.parameters, (ik.Output("s", (5,)),), True

        def simulate(self, theta, row_seeds):
            s = clean(simulator.simulate(theta, row_seeds))
            return {"s": s + NOISE * seeds.normals(row_seeds, (5,))}

    prior = ik.Prior({n: ik.Uniform(a, b, unit="uS") for n, a, b in zip(("g_na", "g_kd"), low, high)})
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(
            Noisy(),
            prior,
            path=Path(folder) / "run",
            seed=1,
            quiet=True,
            observed={"s": observed},
            executor=ik.executor("local", workers=0),
            estimator=ik.estimator("npe", density="maf"),
        )
        started = clock()
        study.simulate(simulations)
        simulated = clock()
        posterior = study.fit()
        print(
            f"{simulations} simulations {simulated - started} s (wall, CPU), training {clock() - simulated} s"
        )
        draws = posterior.sample(2000, {"s": observed}).values
        print(
            f"npe: {draws.mean(0)} ± {draws.std(0)}; means off by {np.abs(draws.mean(0) - mean) / sd} sd; "
            f"C2ST {c2st(exact, draws):.3f}",
            flush=True,
        )
        for verdict in study.check(only=["sbc", "coverage", "tarp"]):
            print(verdict)


def c2st(a: np.ndarray, b: np.ndarray) -> float:
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    x = np.concatenate([a, b])
    x = (x - a.mean(0)) / a.std(0)
    y = np.r_[np.zeros(len(a)), np.ones(len(b))]
    model = MLPClassifier((20, 20), max_iter=1000, random_state=1)
    return float(cross_val_score(model, x, y, cv=5).mean())


def membrane() -> None:
    """dv = (EL - v)/tau dt + noise, seen every 1 ms without error: the likelihood is an autoregression's."""
    part = ik.simulator(
        "brian2",
        equations="dv/dt = (EL - v)/tau + sigma*sqrt(2/tau)*xi : volt",
        method="euler",
        namespace={"EL": "-65 mV"},
        initial={"v": "-65 mV"},
        duration="200 ms",
        engine="cpp",
        dt="0.1 ms",
        record=("v",),
        parameters={"tau": "10 ms", "sigma": "2 mV"},
        record_dt="1 ms",
    )
    prior = ik.Prior({"tau": ik.Uniform(3, 30, unit="ms"), "sigma": ik.Uniform(0.5, 5, unit="mV")})

    def features(x):
        z = x["v"] + 65.0
        a, b, c = (z[:, 1:] * z[:, :-1]).sum(1), (z[:, :-1] ** 2).sum(1), (z[:, 1:] ** 2).sum(1)
        return {"log_b": np.log(b), "r": a / b, "log_q": np.log(np.maximum(c - a**2 / b, 1e-12))}

    observed = part.build().simulate(
        {"tau": np.array([9.0]), "sigma": np.array([2.0])}, seeds.row_seeds(99, 0, np.arange(1))
    )
    v = observed["v"][0] + 65.0
    tau, sigma = np.meshgrid(np.linspace(3, 30, 400), np.linspace(0.5, 5, 400), indexing="ij")
    step = 1 - 0.1 / tau  # of the Euler scheme, exactly; ten of them between samples
    a = step**10
    q = sigma**2 * 2 * (0.1 / tau) * (1 - step**20) / (1 - step**2)
    log = sum(-0.5 * np.log(q) - 0.5 * (y - a * x) ** 2 / q for x, y in zip(v[:-1], v[1:]))
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    grid = np.stack([tau.ravel(), sigma.ravel()], 1)
    mean = weight.ravel() @ grid
    sd = np.sqrt(weight.ravel() @ (grid - mean) ** 2)
    exact = grid[np.random.default_rng(0).choice(len(grid), 2000, p=weight.ravel())]
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(
            part,
            prior,
            path=Path(folder) / "run",
            seed=1,
            quiet=True,
            estimator=ik.estimator("npe", density="maf"),
            features=[features],
            executor=ik.executor("local", workers=0),
        )
        study.simulate(10000)
        draws = study.fit().sample(2000, {"v": observed["v"][0]}).values
    print(
        f"exact {mean} ± {sd}; npe {draws.mean(0)} ± {draws.std(0)}; off by {np.abs(draws.mean(0) - mean) / sd} sd, "
        f"C2ST {c2st(exact, draws):.3f}"
    )


def ei() -> None:
    prior = ik.Prior({"exc.w": ik.Uniform(0.02, 0.08), "exc.drive": ik.Uniform(14, 20, unit="mV")})
    truth = {"exc.w": 0.05, "exc.drive": 17.0}

    def features(x):
        return {
            "rate": x["rate"].mean(1),
            "sd": x["rate"].std(1),
            "inh": x["inh"].mean(1),
            "inh_sd": x["inh"].std(1),
        }

    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(
            make(),
            prior,
            path=Path(folder) / "run",
            seed=1,
            quiet=True,
            estimator=ik.estimator("npe", density="maf"),
            features=[features],
            executor=ik.executor("local", workers=0),
        )
        started = clock()
        study.simulate(1000)
        print(f"1,000 networks in {clock() - started} s (wall, CPU)", flush=True)
        observed = make().simulate(
            {k: np.array([v]) for k, v in truth.items()}, seeds.row_seeds(77, 0, np.arange(1))
        )
        posterior = study.fit()
        print(posterior.sample(2000, {k: v[0] for k, v in observed.items()}))
        for verdict in study.check(
            {k: v[0] for k, v in observed.items()}, only=["sbc", "coverage", "tarp", "budget"]
        ):
            print(verdict)
        held = study.context().calibration
        low, high = np.quantile(held.draws, [0.05, 0.95], axis=1)
        for j, name in enumerate(prior.names):
            r = np.corrcoef(held.draws[:, :, j].mean(1), held.theta[:, j])[0, 1]
            inside = ((low <= held.theta) & (held.theta <= high))[:, j].mean()
            print(f"{name}: r {r:.2f}, 90 % intervals hold {inside:.0%}")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["speed"]:
        {
            "speed": speed,
            "native": native,
            "network": network,
            "recovery": recovery,
            "membrane": membrane,
            "ei": ei,
        }[name]()
