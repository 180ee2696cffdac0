"""The LIF neuron by bayesflow's networks: our loop beside bayesflow's own, and two ways to train.

    python benchmarks/bayesflow_lif.py epoch 64        # the LSTM's seconds an epoch, 64 units
    python benchmarks/bayesflow_lif.py fast 40         # fresh simulations, so many epochs
    python benchmarks/bayesflow_lif.py original 8 64   # so many epochs of the LSTM on 10,000 pairs

`epoch`: the same networks, rows and batches by bayesflow's approximator with keras' fit, and by ours,
an epoch each in turn; CPU seconds, medians and their ratio.  `fast` and `original` tell CPU seconds of
training, and on 5,000 simulations that neither has seen the mean and median -log q(z | x) in prior
standard deviations (the prior has 5.68), R^2 of posterior means, and the worst expected calibration
error.  `original` is cut short: what all of its 300 epochs on 100,000 pairs would take is told from its
seconds a step.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
import numpy as np

import inferkit as ik
from inferkit import seeds
from inferkit.commands import study_file
from inferkit.prior.space import Space

STUDIES = Path(__file__).parents[1] / "plugins/inferkit_bayesflow/examples"
TEST, DRAWS, CALIBRATED = 5000, 200, 1000
BATCH = 256


def study_of(name: str, path: str, n: int, **settings) -> ik.Study:
    study, _ = study_file.read(STUDIES / f"{name}.toml")
    config = {**vars(study.estimator.config), **settings}
    study = ik.Study(study.simulator, study.prior, estimator=ik.estimator("bayesflow", **config),
                     path=f"runs/bayesflow-lif/{path}", seed=1, quiet=True,
                     executor=ik.executor("local", workers=0))
    study.simulate(n)
    return study


def quality(study: ik.Study, posterior: ik.Posterior) -> None:
    """Told of simulations of the prior under seeds of their own."""
    theta = study.prior.sample(TEST, np.random.default_rng(99))
    x = study.built.simulate(theta, seeds.row_seeds(99, 0, np.arange(TEST)))["V"]
    matrix, space, engine = study.prior.pack(theta), Space(study.prior), posterior.engine
    (c,) = engine.conditions({"V": x})
    z = space.to_z(matrix)
    nll = -engine.machine.log_q(z, c)
    draws = posterior.sample(DRAWS, x[:CALIBRATED], seed=5).values
    truth = matrix[:CALIBRATED]
    r2 = 1 - ((draws.mean(1) - truth) ** 2).mean(0) / truth.var(0)
    rank = (draws < truth[:, None]).mean(1)
    levels = np.linspace(0.05, 0.95, 19)
    covered = (np.abs(2 * rank - 1)[None] <= levels[:, None, None]).mean(1)
    error = np.abs(covered - levels[:, None]).mean(0)
    print(f"-log q: mean {nll.mean():.3f}, median {np.median(nll):.3f}")
    print("R^2:", ", ".join(f"{n} {v:.3f}" for n, v in zip(study.prior.names, r2)))
    print(f"worst expected calibration error {error.max():.3f}")


def fast(epochs: int) -> None:
    study = study_of("lif_fast", "fast", 5000, epochs=epochs)
    began, cpu = time.monotonic(), time.process_time()
    posterior = study.fit(refit=True)
    print(f"fast: {posterior.info['online']:,} simulations, {time.process_time() - cpu:.0f} CPU s "
          f"in all (compilation and simulation too), {time.monotonic() - began:.0f} s by the clock")
    quality(study, posterior)


def original(epochs: int, width: int) -> None:
    study = study_of("lif_original", "original", 11_112, epochs=epochs, summary_width=width)
    cpu = time.process_time()
    posterior = study.fit(refit=True)
    spent, steps = time.process_time() - cpu, epochs * (9001 // BATCH)
    print(f"original, {width} units: {epochs} epochs on 9,001 pairs in {spent:.0f} CPU s, "
          f"{spent / steps:.2f} a step; all 300 epochs on 90,000 pairs would take about "
          f"{300 * (90_000 // BATCH) * spent / steps / 3600:.0f} h")
    print("validation by epoch:", np.round(posterior.info["validation_loss"], 2).tolist())
    quality(study, posterior)


def epoch(width: int, n: int = 1024, repeats: int = 5) -> None:
    from inferkit_bayesflow import backend

    backend.load("jax")
    import bayesflow as bf
    import keras
    from inferkit_bayesflow.estimator import built
    from inferkit_bayesflow.inputs import Inputs
    from inferkit_bayesflow.rows import in_batches

    config = study_file.read(STUDIES / "lif_original.toml")[0].estimator.config
    config = type(config)(**{**vars(config), "summary_width": width})
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 4)).astype(np.float32)
    x = rng.standard_normal((n, 400, 1)).astype(np.float32)

    class Summary(bf.networks.SummaryNetwork):
        """What one writes by hand."""

        def __init__(self):
            super().__init__()
            self.one = keras.layers.LSTM(width, return_sequences=True)
            self.two = keras.layers.LSTM(width)
            self.last = keras.layers.Dense(config.summary_dim)
            self.norm = keras.layers.LayerNormalization()

        def call(self, x, training=False, **_):
            return self.norm(self.last(self.two(self.one(x))))

    flow = bf.networks.CouplingFlow(depth=config.layers, subnet_kwargs={
        "widths": (config.width, config.width), "dropout": 0.0})
    theirs = bf.approximators.ContinuousApproximator(
        inference_network=flow, summary_network=Summary(), standardize=None)
    theirs.compile(optimizer=keras.optimizers.Adam(1e-4, clipnorm=1.5))
    data = bf.datasets.OfflineDataset({"inference_variables": z, "summary_variables": x},
                                      batch_size=BATCH, adapter=None)
    inputs = Inputs({"V": {"shape": [400], "kind": "lstm", "time": -1}}, {})
    ours = built(config, 4, inputs, [[0], [400, 1]], "jax", 0, n // BATCH)
    columns = [z, np.empty((n, 0), np.float32), x]

    def by_hand() -> None:
        theirs.fit(dataset=data, epochs=1, verbose=0)

    def by_us() -> None:
        order = rng.permutation(n)
        losses = [ours.train(batch) for batch in in_batches(columns, order, BATCH)]
        float(losses[-1])

    times = {f: [] for f in (by_hand, by_us)}
    for k in range(repeats + 1):
        for f in times:
            cpu = time.process_time()
            f()
            if k:  # the first compiles
                times[f].append(time.process_time() - cpu)
    hand, us = (np.median(t) for t in times.values())
    print(f"{n} pairs, LSTM of {width}: by hand {hand:.2f} CPU s an epoch, inferkit {us:.2f}, "
          f"ratio {us / hand:.3f} ({[round(b / a, 3) for a, b in zip(*times.values())]})")


if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    {"epoch": epoch, "fast": fast, "original": original}[command](*map(int, numbers))
