"""MR-SDS: what it recovers of known systems, beside exact and linear peers, and what a step costs.

    python benchmarks/mrsds.py quality double-well --seeds 0 1 2 3 4
    python benchmarks/mrsds.py speed --batch 64
    python benchmarks/mrsds.py peer                  (needs dynamax)

Every line of output is JSON.  Quality is on held-out trials.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import inferkit as ik

TASKS = {
    "double-well": ("double-well", {}, 450, {"K": 2}),
    "double-well-spread": ("double-well", {"start_sd": 0.15}, 450, {"K": 2}),
    "lotka-volterra": ("lotka-volterra", {}, 300,
                       {"K": 2, "d": 1, "dynamics": {"communication": "conditional"}}),
    "linear": ("linear-gaussian-regions", {}, 200,
               {"K": 1, "inference": "svae", "objective": {"message_l21": 0.1}}),
}


def quality(task: str, seeds: list[int], steps: int, second: int, more: dict, folder: str) -> None:
    name, settings, trials, model = TASKS[task]
    simulator = ik.simulator(name, **settings).build()
    data = simulator.dataset(trials, seed=0)
    from inferkit_mrsds.analyse.recovery import recovery

    for seed in seeds:
        began = time.perf_counter()
        training = {"steps": steps, "second_steps": second}
        kept = Path(folder) / f"{task}-{seed}" if folder else None  # a run that was stopped goes on
        if kept:
            kept.mkdir(parents=True, exist_ok=True)
        engine = ik.estimator("mrsds", **{**model, **more}, training=training).build().train(
            data, seed=seed, folder=kept)
        found = {"task": task, "seed": seed, **recovery(engine)}
        found["forecast_r2"] = engine.forecast_r2(horizon=10)["model"].round(4).tolist()
        found["cosmooth_r2"] = engine.cosmooth().r2
        found["elbo_a_bin"] = float(-min(engine.info["validation_loss"]))
        if task == "linear":
            found |= against_kalman(engine, simulator)
        print(json.dumps({**found, "seconds": round(time.perf_counter() - began, 1)}), flush=True)


def against_kalman(engine, simulator) -> dict:
    """The ELBO beside the exact log-likelihood of the generating model, nats a bin of the data."""
    from inferkit_mrsds.analyse.linear import Linear

    t = engine.held_out
    exact = Linear.of(simulator.exact()).log_likelihood(t).sum() / t.mask.sum()
    units = np.log(engine.layout.scale[0]).sum()  # the ELBO is of standardised activity
    bound = engine.elbo(n=16).sum() / t.mask.sum() - units
    return {"kalman": float(exact), "elbo": float(bound), "gap": float((exact - bound) / abs(exact))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["quality", "speed", "peer"])
    parser.add_argument("task", nargs="?", default="double-well", choices=sorted(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--second", type=int, default=300)
    parser.add_argument("--folder", default="")
    parser.add_argument("--settings", type=json.loads, default={})
    told = parser.parse_args()
    if told.what == "quality":
        quality(told.task, told.seeds, told.steps, told.second, told.settings, told.folder)
