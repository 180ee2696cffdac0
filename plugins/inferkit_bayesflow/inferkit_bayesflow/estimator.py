"""The estimator: rows to columns, a network, its training; and a network again from a file.

    z = Phi^-1(F(theta)),    minimise  -E log q(z | x)    over simulated pairs
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit.prior.space import Space
from inferkit_bayesflow import backend
from inferkit_bayesflow.config import BayesFlowConfig
from inferkit_bayesflow.engine import Engine
from inferkit_bayesflow.inputs import Inputs
from inferkit_bayesflow.rows import Fresh, Source, Stored, Varied, counted, sizes, table, usable
from inferkit_bayesflow.train import grouped, optimizer, train


class BayesFlow:
    def __init__(self, config: BayesFlowConfig | None = None):
        self.config = config or BayesFlowConfig()

    def fit(self, problem: Problem) -> Engine:
        config, space = self.config, Space(problem.prior)
        used = backend.load(config.backend)
        seen = [0, 0]
        parts = (p.inputs for p in counted(problem.batches(), seen))
        inputs = Inputs.learned(parts, problem.outputs, config.summary,
                                problem.trials)
        if not seen[1]:
            raise EstimatorError("all simulations failed" if seen[0] else "there are no simulations",
                                 fix="inferkit check study.toml")

        def columns(part: Training) -> list[np.ndarray]:
            rows = usable(part)
            return [space.to_z(rows.theta), *inputs.columns(rows.inputs, check=False)]

        held = table(counted(problem.batches(), [0, 0]), columns, config.memory * 1e9, problem.folder)
        seed = int(problem.rng(0, 0).integers(2**31))
        source: Source = (Fresh(problem, held, columns, config, seed) if config.online
                          else Stored(held, config, seed))
        if problem.trials is not None and problem.trials[0] < problem.trials[1]:
            source = Varied(source, inputs, seed)
        machine = built(config, space.dim, inputs, sizes(held[1:]), used, seed, source.steps)
        history = train(machine, source, config, file=problem.folder / "checkpoint.npz",
                        show=problem.show)
        info = {"simulations": seen[1], "excluded": seen[0] - seen[1], "backend": used,
                "training_seconds": round(history.seconds, 3), "best_epoch": history.best_epoch,
                **({"online": config.online * history.epoch} if config.online else {})}
        # A consistency model's loss moves with its own target and says nothing of convergence.
        told = "" if config.comparable else "consistency_"
        info |= {f"{told}loss": history.loss, f"{told}validation_loss": history.validation_loss}
        return Engine(machine, inputs, space, config, info, sizes(held[1:]))

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        config, space = BayesFlowConfig(**meta["config"]), Space(prior)
        used = backend.load(meta["backend"])
        scales = {k.removeprefix("scales/"): v for k, v in arrays.items() if k.startswith("scales/")}
        inputs = Inputs(meta["plan"], scales, meta.get("trials"))
        machine = built(config, space.dim, inputs, meta["rows"], used, 0)
        held = grouped({k: v for k, v in arrays.items() if not k.startswith("scales/")})
        try:
            machine.restore({name: held.get(name, []) for name in ("weights", "others")})
        except ValueError as cause:
            import bayesflow

            raise EstimatorError(
                f"the saved network does not fit the one that bayesflow {bayesflow.__version__} builds "
                f"(it was saved by {meta['bayesflow']})",
                fix="install the bayesflow that posterior.json names, or fit again") from cause
        return Engine(machine, inputs, space, config, meta["info"], meta["rows"])


def built(config: BayesFlowConfig, dim: int, inputs: Inputs, rows: list[list[int]], used: str,
          seed: int, steps: int | None = None) -> Any:
    """The network for rows of these shapes; with `steps` an epoch, one that can be trained."""
    if used == "jax":
        from inferkit_bayesflow.on_jax import Machine
    else:
        from inferkit_bayesflow.on_torch import Machine  # type: ignore[assignment]
    from inferkit_bayesflow.networks import approximator

    with backend.seeded(seed):
        empty = [np.empty((1, *shape), np.float32) for shape in rows]
        net = approximator(config, dim, inputs.summarised, empty)
        return Machine(net, None if steps is None else optimizer(config, steps))
