"""`optimise`: the parameters whose simulation is nearest to one observation; a point, no posterior.

    loss(theta) = mean_j ((s_j(theta) - o_j) / sigma_j)^2

over features j, or over the samples of a raw trace, sigma_j being the standard deviation of feature j
(of all of an output's samples, for raw outputs) over simulations of the prior.  Raw spike trains cost
1 - Gamma, the coincidence factor (see `coincidence`); of several raw outputs, each counts alike.  A
value undefined on one side counts as FAR sds off; a failed simulation is infinitely far.

The search runs in the unit cube of the prior's distribution functions, so it never leaves the prior,
and starts from a Sobol sequence and the best of the stored simulations.  A generation is simulated at
once, through the executor, and stored as a round of the fit: a search that is begun again repeats
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.data import Ragged
from inferkit.errors import ConfigError, EstimatorError
from inferkit.features import FEATURES, flatten
from inferkit_brian2.coincidence import gamma

FAR = 10.0
EDGE = 1e-9


@dataclass(frozen=True)
class OptimiseConfig:
    """method: scipy's differential evolution, or Nevergrad (extra), whose optimiser `optimizer` names.

    population: simulations a generation; generations: at most so many; tolerance: stop where the
    population's losses agree to this share of their mean (differential evolution).  window: spikes
    that are no farther apart coincide, in the unit of their times (of raw spike trains).
    """

    method: Literal["differential_evolution", "nevergrad"] = "differential_evolution"
    optimizer: str = "TwoPointsDE"
    population: int = 64
    generations: int = 40
    tolerance: float = 0.01
    window: float = 2.0

    def __post_init__(self):
        for name in ("population", "generations"):
            least = 8 if name == "population" else 1
            if getattr(self, name) < least:
                raise ConfigError(
                    f"optimise: {name} is {getattr(self, name)}", allowed=f"{least} or more"
                )
        if not self.window > 0:
            raise ConfigError(f"optimise: window is {self.window}", allowed="above 0")


class Optimise:
    """The estimator."""

    def __init__(self, config: OptimiseConfig | None = None):
        self.config = config or OptimiseConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Any) -> Point:
        return Point(arrays["theta"], meta["info"])

    def fit(self, problem: Any) -> Point:
        search = Search(problem, self.config)
        if self.config.method == "nevergrad":
            self._nevergrad(search)
        else:
            self._evolve(search)
        if search.best is None:
            raise EstimatorError(
                f"all {search.count} simulations failed", fix="inferkit check study.toml"
            )
        return Point(
            search.best,
            {
                "loss": float(search.loss),
                "simulations": search.count,
                "history": [float(v) for v in search.history],
            },
        )

    def _evolve(self, search: Search) -> None:
        from scipy.optimize import differential_evolution

        c, d = self.config, search.prior.dim
        differential_evolution(
            lambda u: search(u.T.reshape(-1, d)),
            [(EDGE, 1 - EDGE)] * d,
            init=search.start(c.population),
            maxiter=c.generations - 1,
            tol=c.tolerance,
            rng=search.rng,
            polish=False,
            vectorized=True,
            updating="deferred",
        )

    def _nevergrad(self, search: Search) -> None:
        try:
            import nevergrad
        except ImportError:
            raise EstimatorError(
                "method nevergrad needs the package of this name",
                fix='pip install "inferkit-brian2[nevergrad]"',
            ) from None
        c, d = self.config, search.prior.dim
        if c.optimizer not in nevergrad.optimizers.registry:
            from inferkit.errors import unknown_name

            raise unknown_name("Nevergrad optimizer", c.optimizer, nevergrad.optimizers.registry)
        space = nevergrad.p.Array(init=np.full(d, 0.5), lower=EDGE, upper=1 - EDGE)
        space.random_state.seed(int(search.rng.integers(2**31)))
        engine = nevergrad.optimizers.registry[c.optimizer](
            space, budget=c.population * c.generations, num_workers=c.population
        )
        for u in search.start(c.population):
            engine.suggest(u)
        for _ in range(c.generations):
            asked = [engine.ask() for _ in range(c.population)]
            for candidate, loss in zip(asked, search(np.stack([a.value for a in asked]))):
                engine.tell(candidate, float(min(loss, 1e30)))


class Search:
    """Losses of points of the unit cube, a generation at a time, and the best so far."""

    def __init__(self, problem: Any, config: OptimiseConfig):
        self.problem, self.prior = problem, problem.prior
        if self.prior.discrete.any():
            raise EstimatorError(
                "optimise searches continuous parameters", fix="a study for each value"
            )
        self.observed = problem.observed
        self.rng = problem.rng(0)
        self.best: np.ndarray | None = None
        self.loss, self.count, self.history = np.inf, 0, []
        table = (
            problem.training()
            if problem.simulations is not None and len(problem.simulations) >= config.population
            else None
        )
        if table is None:
            table = problem.simulate(self.prior.pack(self.prior.sample(config.population, self.rng)))
        self.window = config.window
        self.scale = scales(table.inputs, table.ok)
        self.duration = {
            name: max(np.max(v.values, initial=0.0) for v in (value, self.observed[name]))
            for name, value in table.inputs.items()
            if isinstance(value, Ragged)
        }
        losses = self._losses(table)
        self.first = table.theta[np.argsort(losses, kind="stable")[: config.population // 2]]
        self._keep(table.theta, losses)

    def start(self, population: int) -> np.ndarray:
        from scipy.stats import qmc

        u = qmc.Sobol(self.prior.dim, rng=self.rng).random(population)
        u[: len(self.first)] = self.prior.to_unit(self.first)
        return np.clip(u, EDGE, 1 - EDGE)

    def __call__(self, u: np.ndarray) -> np.ndarray:
        theta = self.prior.from_unit(np.clip(u, EDGE, 1 - EDGE))
        inside = np.isfinite(self.prior.log_prob_matrix(theta))  # constraints
        losses = np.full(len(u), np.inf)
        if inside.any():
            table = self.problem.simulate(theta[inside])
            losses[inside] = self._losses(table)
            self._keep(theta[inside], losses[inside])
        self.history.append(self.loss)
        self.problem.show("optimise", {"loss": float(self.loss), "simulations": self.count})
        return losses

    def _keep(self, theta: np.ndarray, losses: np.ndarray) -> None:
        self.count += len(theta)
        k = int(np.argmin(losses))
        if losses[k] < self.loss:
            self.loss, self.best = losses[k], theta[k].copy()

    def _losses(self, table: Any) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            each = [self._loss(name, value) for name, value in table.inputs.items()]
        return np.where(table.ok, np.mean(each, axis=0), np.inf)

    def _loss(self, name: str, value: Any) -> np.ndarray:
        """What one input costs, a number for each row."""
        if isinstance(value, Ragged):
            data, duration = self.observed[name][0], max(self.duration[name], self.window)
            return np.array([1 - gamma(row, data, self.window, duration) for row in value])
        s, o = flatten({name: value}), flatten({name: self.observed[name]})
        z = (s - o) / self.scale[name]
        z = np.where(np.isnan(s) & np.isnan(o), 0.0, np.where(np.isfinite(z), z, FAR))
        return np.square(z).mean(1)


def scales(inputs: Mapping[str, Any], ok: np.ndarray) -> dict[str, np.ndarray]:
    out = {}
    for name, value in inputs.items():
        if isinstance(value, Ragged):
            continue
        s = flatten({name: value})[ok]
        with np.errstate(all="ignore"):
            sd = np.nanstd(s, axis=0) if name == FEATURES else np.full(s.shape[1], np.nanstd(s))
        out[name] = np.where(np.isfinite(sd) & (sd > 0), sd, 1.0)
    return out


class Point:
    """The best parameters; every draw is the same."""

    def __init__(self, theta: np.ndarray, info: dict):
        self.theta, self.info = theta, info

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        return np.repeat(self.theta[None], n, axis=0)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        return {"theta": self.theta}, {"info": self.info}
