"""MR-SDS: what it recovers of known systems, beside exact and linear peers, and what a step costs.

    python benchmarks/mrsds.py quality double-well --seeds 0 1 2 3 4
    python benchmarks/mrsds.py speed --batch 64
    python benchmarks/mrsds.py peer                  (needs dynamax)

Every line of output is JSON.  Quality is on held-out trials.  What was measured: docs/mrsds.md.
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
    bound = engine.elbo(t, n=16).sum() / t.mask.sum() - units
    return {"kalman": float(exact), "elbo": float(bound), "gap": float((exact - bound) / abs(exact))}


def speed(batch: int, rounds: int) -> None:
    """Seconds a step after compilation: B trials of 75 bins of 100 neurons; then how it grows.

    Kinds are interleaved, `rounds` times 20 steps each; the median is told, and the first call's time.
    """
    kinds = {"mean-field": {"K": 2, "inference": "mean-field"}, "svae": {"K": 1, "inference": "svae"},
             "s-svae": {"K": 2, "inference": "s-svae"}}
    growth = {"s-svae T=150": (2, 150, 2), "s-svae R=4": (2, 75, 4), "s-svae K=4": (4, 75, 2)}
    runs = {name: prepared(c, 75, 2, batch) for name, c in kinds.items()}
    runs |= {name: prepared({"K": K, "inference": "s-svae"}, T, R, batch)
             for name, (K, T, R) in growth.items()}
    first, each = {}, {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, step in runs.items():
            began = time.perf_counter()
            step()
            took = time.perf_counter() - began
            if turn:
                each[name].append(took / 20)
            else:
                first[name] = took
    for name, times in each.items():
        print(json.dumps({"what": name, "batch": batch, "seconds_a_step": float(np.median(times)),
                          "least": min(times), "compile": first[name] - 20 * float(np.median(times)),
                          "device": device()}), flush=True)


def prepared(settings: dict, T: int, R: int, batch: int):
    """Twenty training steps as a function of nothing."""
    import jax
    from inferkit_mrsds.data import given_trials
    from inferkit_mrsds.layout import Layout
    from inferkit_mrsds.model.model import Model
    from inferkit_mrsds.train.fit import to_batch
    from inferkit_mrsds.train.loop import Trainer, stages

    c = ik.estimator("mrsds", **settings, training={"batch": batch, "evaluate": 20}).config
    rng = np.random.default_rng(0)
    t = given_trials({"ys": rng.standard_normal((batch, T, 100)), "region_sizes": [100 // R] * R,
                      "us": rng.standard_normal((batch, T, 2))})
    layout = Layout.of(t, "gaussian", 2)
    S, R, M = layout.shape
    trainer = Trainer(c, to_batch(layout, t), None, 0, 1500)
    held = [trainer.start(Model.create(jax.random.key(0), c, S, R, M, 2))]

    def step() -> None:
        held[0], _ = trainer.run(held[0], stages(c)[0], 0, 20)

    return step


def device() -> str:
    import jax

    return jax.devices()[0].platform


def linear_peers(trials: int, rounds: int) -> None:
    """A linear Gaussian model of the double well by EM: ours, and dynamax's where it is installed."""
    from inferkit_mrsds.analyse.linear import Linear
    from inferkit_mrsds.data import given_trials

    t = given_trials(ik.simulator("double-well").build().dataset(trials, seed=0))
    learn, test = t.select(slice(0, trials * 9 // 10)), t.select(slice(trials * 9 // 10, None))
    began = time.perf_counter()
    model = Linear.fit(learn, 4, rounds=rounds)
    took = time.perf_counter() - began
    print(json.dumps({"who": "inferkit-mrsds Linear", "seconds": took, "log_likelihood_a_bin": float(
        model.log_likelihood(test).sum() / test.mask.sum())}), flush=True)
    try:
        import dynamax.linear_gaussian_ssm as ssm
    except ImportError:
        print(json.dumps({"who": "dynamax", "missing": "pip install dynamax"}))
        return
    import jax

    peer = ssm.LinearGaussianConjugateSSM(4, t.y.shape[-1], input_dim=t.u.shape[-1])
    params, props = peer.initialize(jax.random.PRNGKey(0))
    began = time.perf_counter()
    params, _ = peer.fit_em(params, props, learn.y, inputs=learn.u, num_iters=rounds, verbose=False)
    took = time.perf_counter() - began
    found = jax.vmap(lambda y, u: peer.marginal_log_prob(params, y, u))(test.y, test.u)
    print(json.dumps({"who": "dynamax", "seconds": took,
                      "log_likelihood_a_bin": float(found.sum() / test.mask.sum())}))
    truth = test.truth["zs"].astype(int)
    for seed in range(5):
        began = time.perf_counter()
        path = dynamax_states(learn, test, seed)
        agree = float((path == truth).mean())
        print(json.dumps({"who": "dynamax LinearAutoregressiveHMM on principal components",
                          "seed": seed, "state_accuracy": max(agree, 1 - agree),
                          "seconds": time.perf_counter() - began}), flush=True)


def dynamax_states(learn, test, seed: int) -> np.ndarray:
    """States of the test trials by a linear autoregressive HMM on each region's components."""
    import jax
    from dynamax.hidden_markov_model import LinearAutoregressiveHMM
    from inferkit_mrsds.layout import Layout
    from inferkit_mrsds.train.start import components

    layout = Layout.of(learn, "gaussian", 2)
    _, arrays = components(learn, layout, 2)
    x, held = (np.einsum("btrm,rmd->btrd", layout.spread(layout.standard(t.y, t.session), t.session,
                                                         0.0), arrays["skip"][0])
               .reshape(*t.y.shape[:2], -1) for t in (learn, test))
    model = LinearAutoregressiveHMM(2, x.shape[-1], num_lags=1, transition_matrix_stickiness=10.0)
    params, props = model.initialize(jax.random.PRNGKey(seed), method="kmeans", emissions=x)
    lags = jax.vmap(model.compute_inputs)
    params, _ = model.fit_em(params, props, x, inputs=lags(x), num_iters=50, verbose=False)
    return np.asarray(jax.vmap(lambda y, u: model.most_likely_states(params, y, u))(held, lags(held)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["quality", "speed", "peer"])
    parser.add_argument("task", nargs="?", default="double-well", choices=sorted(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--second", type=int, default=300)
    parser.add_argument("--folder", default="", help="where fits are kept, so that they can be resumed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--settings", type=json.loads, default={})
    told = parser.parse_args()
    if told.what == "quality":
        quality(told.task, told.seeds, told.steps, told.second, told.settings, told.folder)
    elif told.what == "speed":
        speed(told.batch, told.rounds)
    else:
        linear_peers(told.trials, told.rounds)
