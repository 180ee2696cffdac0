"""The posterior: a trained network over z, drawn from directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.posterior.learned import Learned
from inferkit.prior.space import Space
from inferkit_bayesflow.config import BayesFlowConfig
from inferkit_bayesflow.inputs import Inputs


class Engine(Learned):
    """`approximator` is bayesflow's own object, for what it can do besides."""

    def __init__(self, machine: Any, inputs: Inputs, space: Space, config: BayesFlowConfig, info: dict,
                 rows: list[list[int]]):
        super().__init__(space)
        self.machine, self.inputs, self.config, self.info = machine, inputs, config, info
        self.rows = rows  # shapes of the columns, which the network is built for

    @property
    def approximator(self) -> Any:
        return self.machine.net

    def conditions(self, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        return [self.machine.embed(self.inputs.columns(inputs))]

    def summaries(self, inputs: Mapping[str, Any]) -> np.ndarray | None:
        """What the summary network makes of rows of data (n, k); None where there is none."""
        if not self.inputs.summarised:
            return None
        columns = self.inputs.columns(inputs)
        return self.machine.embed(columns)[:, columns[0].shape[1]:].astype(np.float64)

    def _draw(self, n: int, conditions: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        c = conditions[0]
        m, d = len(c), self.space.dim
        noise = rng.standard_normal((m * n, d), np.float32)
        z = self.machine.draw(noise, np.repeat(c, n, 0), int(rng.integers(2**62)))
        return z.reshape(m, n, d).astype(np.float64)

    def log_q(self, z: np.ndarray, conditions: Sequence[Any]) -> np.ndarray:
        if self.config.inference == "consistency":
            raise EstimatorError("a consistency model gives draws and no densities",
                                 fix='inference = "spline"')
        c = np.repeat(conditions[0], len(z), 0)
        return self.machine.log_q(z, c).astype(np.float64)

    def state(self) -> tuple[dict, dict]:
        import bayesflow
        import keras

        held = self.machine.state()
        arrays = {f"{name}/{i:04d}": v for name in ("weights", "others")
                  for i, v in enumerate(held[name])}
        arrays |= {f"scales/{k}": v for k, v in self.inputs.scales.items()}
        return arrays, {"config": vars(self.config), "info": self.info, "plan": self.inputs.plan,
                        "trials": self.inputs.trials and list(self.inputs.trials),
                        "rows": self.rows, "backend": keras.backend.backend(),
                        "bayesflow": bayesflow.__version__, "keras": keras.__version__}
