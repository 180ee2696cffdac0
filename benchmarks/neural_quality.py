"""C2ST of neural posteriors on the reference tasks, beside sbi used as its tutorial does.

    python benchmarks/neural_quality.py run sbi,inferkit 1000,10000 [tasks]     # fits, stores draws
    python benchmarks/neural_quality.py table                                   # scores and prints

Both learn from the same stored simulations.  The score is the cross-validated accuracy of a
classifier (sbi's `c2st` with its multi-layer perceptron) that tells a method's draws from exact
ones: 0.5 is perfect, 1 is useless; mean over the task's ten fixed observations.  One thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik

warnings.filterwarnings("ignore")
FOLDER = Path("runs/quality")
TASKS = ("gaussian_linear", "gaussian_mixture", "two_moons", "slcp")
DRAWS = 2500
SETTINGS: dict[str, dict] = {
    "inferkit": {},  # the defaults
    "inferkit-maf": {"density": "maf"},
    "inferkit-ensemble": {"ensemble": 3},
}


def study_of(task: str, n: int) -> ik.Study:
    """n rows to train on: every tenth is held out from training."""
    simulator = ik.simulator(task)
    study = ik.Study(simulator, simulator.build().prior(), estimator="npe", path=FOLDER / f"{task}-{n}",
                     seed=7, quiet=True)
    study.simulate(int(np.ceil(n / 0.9)))
    return study


def fit_sbi(study: ik.Study, observations: np.ndarray) -> tuple[np.ndarray, float]:
    import torch
    from sbi.inference import NPE
    from sbi.utils import BoxUniform
    torch.set_num_threads(1)
    torch.manual_seed(1)
    table = study.training
    theta = torch.tensor(study.prior.pack(table.theta), dtype=torch.float32)
    x = torch.tensor(table.x()["x"], dtype=torch.float32)
    low, high = study.prior.bounds().T
    prior = (BoxUniform(torch.tensor(low), torch.tensor(high)) if np.isfinite(low).all() else
             torch.distributions.MultivariateNormal(torch.zeros(len(low)), 0.1 * torch.eye(len(low))))
    start = time.process_time()
    trainer = NPE(prior=prior, show_progress_bars=False)
    trainer.append_simulations(theta, x).train()
    posterior = trainer.build_posterior()
    seconds = time.process_time() - start
    draws = [posterior.sample((DRAWS,), x=torch.tensor(o, dtype=torch.float32),
                              show_progress_bars=False).numpy() for o in observations]
    return np.array(draws), seconds


def fit_inferkit(study: ik.Study, observations: np.ndarray, settings: dict) -> tuple[np.ndarray, float]:
    start = time.process_time()
    posterior = study.fit(ik.estimator("npe", **settings), refit=True)
    seconds = time.process_time() - start
    return np.array([posterior.sample(DRAWS, {"x": o}).values for o in observations]), seconds


def run(who: list[str], sizes: list[int], tasks: list[str]) -> None:
    for n in sizes:
        for task in tasks:
            study = study_of(task, n)
            observations = np.array([study.built.observation(k)["x"] for k in range(1, 11)])
            for name in who:
                file = FOLDER / f"{task}-{n}-{name}.npz"
                if file.exists():
                    continue
                draws, seconds = (fit_sbi(study, observations) if name == "sbi"
                                  else fit_inferkit(study, observations, SETTINGS[name]))
                np.savez(file, draws=draws, seconds=seconds)
                print(f"{task} {n} {name}: fitted in {seconds:.0f} CPU s", flush=True)


def score(file: Path) -> list[float]:
    import torch
    from sbi.utils.metrics import c2st
    torch.set_num_threads(1)
    held = file.with_suffix(".json")
    if held.exists() and held.stat().st_mtime > file.stat().st_mtime:
        return json.loads(held.read_text())
    task = file.name.split("-")[0]
    built = ik.simulator(task).build()
    values = []
    for k, draws in enumerate(np.load(file)["draws"], 1):
        exact = built.reference_posterior(DRAWS, built.observation(k), np.random.default_rng(k))
        values.append(float(c2st(torch.tensor(draws, dtype=torch.float32),
                                 torch.tensor(exact, dtype=torch.float32), classifier="mlp")))
    held.write_text(json.dumps(values))
    return values


def table() -> None:
    files = sorted(FOLDER.glob("*.npz"), key=lambda f: (f.name.split("-")[0], len(f.name), f.name))
    print("| task | simulations | method | CPU s | C2ST, mean of 10 | worst |")
    print("|---|---|---|---|---|---|")
    for file in files:
        task, n, name = file.stem.split("-", 2)
        values = score(file)
        print(f"| {task} | {int(n):,} | {name} | {float(np.load(file)['seconds']):.0f} "
              f"| {np.mean(values):.3f} | {max(values):.3f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2].split(","), [int(n) for n in sys.argv[3].split(",")],
            sys.argv[4].split(",") if len(sys.argv) > 4 else list(TASKS))
    else:
        table()
