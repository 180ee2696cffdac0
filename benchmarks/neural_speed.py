"""Training and sampling times of neural posteriors, beside sbi's defaults in the same run.

    python benchmarks/neural_speed.py train gaussian_linear maf 10000     # or two_moons nsf 100000
    python benchmarks/neural_speed.py defaults 200,1000     # or 3000,10000 two_moons,slcp
    python benchmarks/neural_speed.py sample                # 100,000 draws for 100 observations
    python benchmarks/neural_speed.py memory                # a store ten times the memory given
    python benchmarks/neural_speed.py online 40             # LIF: fresh simulations, so many epochs

`train`: both learn from the same stored simulations, one thread each, one after the other.  Quality is
the mean log-density of 5,000 true parameters that neither has seen.  Told are sbi's time and quality,
inferkit's, and when inferkit's validation first reached sbi's quality (by its own offset between
validation and test).

`defaults`: sbi's `NPE()` and inferkit's `npe` as they come, in turns, over the tasks and, for sizes
under 3,000, three data sets: CPU seconds (means; the ratio's greatest in brackets) and the same
quality.  Sbi's is corrected for what leaks out of the prior, as its posterior's `log_prob` is.

`memory` runs in processes of its own and tells their peak.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik
from inferkit import seeds

warnings.filterwarnings("ignore")
TEST = 5000
TASKS = ("gaussian_linear", "two_moons", "slcp", "gaussian_mixture")


def study_of(task: str, n: int, seed: int = 7) -> tuple[ik.Study, np.ndarray, np.ndarray]:
    simulator = ik.simulator(task)
    built = simulator.build()
    study = ik.Study(simulator, built.prior(), estimator="npe", path=f"runs/speed/{task}-{n}-{seed}",
                     seed=seed, quiet=True)
    study.simulate(int(np.ceil(n / 0.9)))
    theta = study.prior.sample(TEST, np.random.default_rng(99))
    x = built.simulate(theta, seeds.row_seeds(99, 0, np.arange(TEST)))["x"]
    return study, study.prior.pack(theta), x


def sbi_prior(study: ik.Study):
    import torch
    from sbi.utils import BoxUniform

    low, high = study.prior.bounds().T
    if np.isfinite(low).all():
        return BoxUniform(torch.tensor(low), torch.tensor(high))
    return torch.distributions.MultivariateNormal(torch.zeros(len(low)), 0.1 * torch.eye(len(low)))


def sbi_trained(study: ik.Study, model: str):
    import torch
    from sbi.inference import NPE

    torch.manual_seed(1)
    table = study.training
    theta = torch.tensor(study.prior.pack(table.theta), dtype=torch.float32)
    x = torch.tensor(table.x()["x"], dtype=torch.float32)
    start = time.perf_counter()
    trainer = NPE(prior=sbi_prior(study), density_estimator=model, show_progress_bars=False)
    net = trainer.append_simulations(theta, x).train()
    return trainer, net, time.perf_counter() - start


def train(task: str, model: str, n: str) -> None:
    import torch

    torch.set_num_threads(1)
    study, theta, x = study_of(task, int(n))
    _, net, seconds = sbi_trained(study, model)
    with torch.no_grad():
        theirs = float(net.log_prob(torch.tensor(theta, dtype=torch.float32)[None],
                                    torch.tensor(x, dtype=torch.float32)).mean())
    print(f"{task} {model} {int(n):,}: sbi {seconds:.1f} s, test {theirs:.4f}", flush=True)

    seen: list[tuple[float, float]] = []

    def note(what: str, values: dict) -> None:
        if "validation" in values:
            seen.append((time.perf_counter() - start, -values["validation"]))

    study.reporter.event = note  # type: ignore[method-assign]
    start = time.perf_counter()
    posterior = study.fit(ik.estimator("npe", density=model), refit=True)
    total = time.perf_counter() - start
    ours = float(np.mean([posterior.engine.log_prob(t[None], {"x": o})[0] for t, o in zip(theta, x)]))
    offset = ours - max(v for _, v in seen)
    reached = next((t for t, v in seen if v + offset >= theirs), np.nan)
    print(f"{task} {model} {int(n):,}: inferkit {total:.1f} s, test {ours:.4f}; ratio "
          f"{seconds / total:.1f}; sbi's quality after {reached:.1f} s, ratio {seconds / reached:.1f}",
          flush=True)


def ours_score(posterior, theta: np.ndarray, x: np.ndarray) -> float:
    """Mean log-density of rows, each given its own data."""
    import torch

    engine = posterior.engine
    z = engine.space.to_z(theta)
    with torch.no_grad():
        given = engine.conditions({"x": x})
        each = [np.log(w) + net.log_prob(torch.tensor(z, dtype=torch.float32), given).double().numpy()
                for net, w in zip(engine.nets, engine.weights) if w]
    return float((np.logaddexp.reduce(each) + engine.space.log_density(theta, z)).mean())


def sbi_score(net, study: ik.Study, theta: np.ndarray, x: np.ndarray) -> float:
    """The same, of a density cut off at the prior's bounds."""
    import torch

    low, high = study.prior.bounds().T
    x = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        score = float(net.log_prob(torch.tensor(theta, dtype=torch.float32)[None], x).mean())
        drawn = net.sample((200,), x[:500]).numpy()
    inside = ((drawn >= low) & (drawn <= high)).all(-1).mean(0)
    return score - float(np.log(np.maximum(inside, 1 / 200)).mean())


def defaults(sizes: str = "200,1000,3000,10000", tasks: str = ",".join(TASKS)) -> None:
    import torch

    torch.set_num_threads(1)
    warm = study_of("two_moons", 200)[0]  # imports and first calls are nobody's time
    sbi_trained(warm, "maf")
    warm.fit(refit=True)
    print("| task | simulations | sbi, CPU s | inferkit | ratio | sbi, quality | inferkit |")
    print("|---|---|---|---|---|---|---|")
    for n in map(int, sizes.split(",")):
        for task in tasks.split(","):
            rows = []
            for seed in (7, 8, 9) if n < 3000 else (7,):
                study, theta, x = study_of(task, n, seed)
                began = time.process_time()
                _, net, _ = sbi_trained(study, "maf")
                theirs = time.process_time() - began
                began = time.process_time()
                posterior = study.fit(refit=True)
                own = time.process_time() - began
                rows.append((theirs, own, sbi_score(net, study, theta, x),
                             ours_score(posterior, theta, x)))
            a, b, p, q = np.mean(rows, axis=0)
            ratios = [own / theirs for theirs, own, *_ in rows]
            print(f"| {task} | {n:,} | {a:.1f} | {b:.1f} | {b / a:.2f} ({max(ratios):.2f}) | {p:.3f} "
                  f"| {q:.3f} |", flush=True)


def sample() -> None:
    """100,000 draws for each of 100 observations."""
    import torch

    torch.set_num_threads(1)
    study, _, x = study_of("two_moons", 10_000)
    trainer, _, _ = sbi_trained(study, "maf")
    ours, theirs = study.fit(ik.estimator("npe", density="maf")), trainer.build_posterior()
    seen = x[:100]
    for _ in range(3):
        start = time.perf_counter()
        drawn = ours.sample(100_000, {"x": seen})
        a = time.perf_counter() - start
        start = time.perf_counter()
        theirs.sample_batched((100_000,), torch.tensor(seen, dtype=torch.float32),
                              show_progress_bars=False)
        b = time.perf_counter() - start
        print(f"draws {drawn.values.shape}: inferkit {a:.1f} s, sbi {b:.1f} s, ratio {b / a:.1f}")


def noisy(theta, seeds_):
    n = len(seeds_)
    out = np.empty((n, 2000))
    for i, s in enumerate(seeds_):
        out[i] = theta["a"][i] + np.random.Generator(np.random.SFC64(int(s))).standard_normal(2000)
    return {"x": out}


def memory() -> None:
    for rows in (6_000, 60_000):
        told = subprocess.run([sys.executable, __file__, "memory_of", str(rows)], text=True,
                              capture_output=True, check=True).stdout
        print(told.strip().splitlines()[-1], flush=True)


def memory_of(rows: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(ik.simulator(noisy, vectorised=True), ik.Prior({"a": ik.Normal(0.0, 1.0)}),
                         path=folder, seed=1, quiet=True, executor=ik.executor("local", workers=0))
        study.simulate(int(rows))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        study.fit(ik.estimator("npe", density="maf", epochs=2, memory=0.1))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{int(rows):,} rows, {int(rows) * 2000 * 8 / 1e9:.2f} GB stored, memory = 0.1 GB: "
          f"peak {before:,.0f} MB before training, {peak:,.0f} MB after")


def online(epochs: str) -> None:
    """LIF from its voltage: stored simulations against fresh ones, mean log q of 2,000 truths.

    In nats, of parameters in units of the prior's standard deviations (so the prior has -5.68).
    """
    simulator = ik.simulator("lif", outputs=["V"])
    built = simulator.build()
    prior = ik.Prior({"tau": ik.LogNormal(20.0, 0.3), "V_rest": ik.Normal(-65.0, 3.0),
                      "C": ik.LogNormal(200.0, 0.3), "V_th": ik.Normal(-48.0, 3.0)})
    theta = prior.sample(2000, np.random.default_rng(5))
    x = built.simulate(theta, seeds.row_seeds(5, 0, np.arange(2000)))
    truth, units = prior.pack(theta), np.log([6.0, 3.0, 60.0, 3.0]).sum()
    fresh = {"online": 20_000, "epochs": int(epochs)}
    for name, settings in (("10,000 stored", {}), ("online", fresh)):
        with tempfile.TemporaryDirectory() as folder:
            study = ik.Study(simulator, prior, path=folder, seed=2, quiet=True)
            study.simulate(11_112)
            start = time.perf_counter()
            posterior = study.fit(ik.estimator("npe", density="maf", **settings))
            taken = time.perf_counter() - start
            score = units + np.mean([
                posterior.engine.log_prob(t[None], {k: v[i] for k, v in x.items()})[0]
                for i, t in enumerate(truth)])
        print(f"LIF, {name}: {taken:.0f} s, log q {score:.3f}", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
