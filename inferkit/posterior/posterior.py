"""The posterior stage: draws with names and units, log-probabilities, the mode, saving.

An estimator returns an engine (see `protocols.Posterior`) that speaks matrices and one observation
at a time.  `Posterior` wraps it for people: it takes raw observations, one or several, applies the
study's features, and returns `Samples`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import seeds, shown
from inferkit.data import Dataset, Draws, Trials
from inferkit.errors import EstimatorError
from inferkit.features import View, observe
from inferkit.plugins import Component
from inferkit.posterior import conditional, files
from inferkit.posterior.extrapolation import beyond
from inferkit.posterior.predicted import Predicted
from inferkit.posterior.samples import Samples
from inferkit.progress import duration


class Posterior:
    """A fitted posterior with its prior and features."""

    def __init__(self, engine: Any, estimator: Component, prior: Any, view: View, *, seed: int = 0,
                 observed: Any = None, info: dict | None = None):
        self.engine, self.estimator, self.prior, self.view = engine, estimator, prior, view
        self.seed, self.observed, self.info = seed, observed, info or {}
        self.forward: Callable[..., Predicted] | None = None  # set by the study that it belongs to

    def _facts(self) -> list[tuple[str, Any]]:
        return [
            ("estimator", self.estimator.name),
            ("parameters", ", ".join(self.prior.names) if "samples" in self.gives else ""),
            ("observation", "one is set" if self.observed is not None else
             "none: posterior.sample(1000, observed)"),
            ("learned from", f"{self.info['rows']:,} simulations" if self.info.get("rows") else ""),
            ("fitted in", duration(self.info["seconds"]) if "seconds" in self.info else ""),
        ]

    def __repr__(self) -> str:
        return "\n".join(["Posterior", *(f"  {k:<13} {v}" for k, v in self._facts() if v)])

    def _repr_html_(self) -> str:
        return shown.titled("Posterior", shown.facts(self._facts()))

    def _inputs(self, observed: Any) -> tuple[dict[str, Any], bool]:
        if observed is None:
            if self.observed is None:
                raise EstimatorError("which observation?", fix="posterior.sample(1000, observed)")
            return self.observed, False
        spec: Any = self.estimator.spec
        if isinstance(observed, Trials) and self.view.trials is None and not spec.iid:
            raise EstimatorError(f"{spec.name!r} learned from single trials, and combines no others",
                                 fix="ik.Study(trials=…)" if spec.sets else "estimator nle or nre")
        inputs, several = observe(observed, self.view)
        if not spec.amortised and self.observed is not None and not _same(inputs, self.observed):
            raise EstimatorError(
                f"{spec.name!r} learned the posterior of one observation, and this is another",
                fix="study.fit(observed=this_one), or an amortised estimator")
        return inputs, several

    def sample(self, n: int, observed: Any = None, *, seed: int | None = None) -> Any:
        """n draws given an observation: `Samples`, for m observations (m, n, d); or `Draws`, of an
        estimator whose posterior has no named numbers.

        `Trials(x)` are independent trials of one parameter set, and one observation.
        """
        if "samples" not in self.gives:
            return self.draws(n, observed, seed=seed)
        inputs, several = self._inputs(observed)
        if told := beyond(inputs, self.info.get("reach", {})):
            warnings.warn(told, stacklevel=2)
        rng = seeds.generator(self.seed if seed is None else seed, "sample", 0)
        values = self.sample_batch(n, inputs, rng)
        self.info.update(getattr(self.engine, "sampled", {}))
        if several:
            return Samples(values, self.prior.names, self.prior.units, self.prior)
        return Samples(values[0], self.prior.names, self.prior.units, self.prior,
                       getattr(self.engine, "chains", None), getattr(self.engine, "stats", None))

    def predict(self, n: int = 200, observed: Any = None, *, seed: int | None = None) -> Predicted:
        """Simulate n posterior draws, through the study's simulator and executor.

        The draws are those of `sample(n, observed, seed=seed)`; they are stored as a round of their
        own, which nothing learns from, so the same call again costs nothing, and their noise depends
        on the study's seed and that round alone.  Of several trials, each draw has as many as the
        observation.  Where the estimator models an observation's noise (nuts), it is added.
        """
        if self.forward is None:
            raise EstimatorError("this posterior was loaded by itself, without the study's simulator",
                                 fix="study.fit().predict(200)")
        if "samples" not in self.gives:
            raise EstimatorError(f"{self.estimator.name!r} has no parameters to simulate with",
                                 fix="posterior.draws(100)")
        inputs, _ = self._inputs(observed)
        samples = self.sample(n, observed, seed=seed)
        if samples.values.ndim != 2:
            raise EstimatorError("predict takes one observation at a time",
                                 fix="posterior.predict(200, observations[0])")
        found = self.forward(samples.values, f"{self.info.get('fit', 'fit')}-predict",
                             self.view.trials_of(inputs))
        noisy = getattr(self.engine, "as_observed", None)
        if noisy is not None and found.trials is None:
            rng = seeds.generator(self.seed if seed is None else seed, "sample", 1)
            found = replace(found, x=noisy(found.x, samples.values, rng))
        return found.told()

    def draws(self, n: int, observed: Any = None, *, seed: int | None = None) -> Draws:
        """n draws of the posterior's arrays (latents by trial and time, say)."""
        if "arrays" not in self.gives:
            raise EstimatorError(f"{self.estimator.name!r} gives no arrays",
                                 fix="posterior.sample(1000)")
        rng = seeds.generator(self.seed if seed is None else seed, "sample", 0)
        data = self.observed if observed is None else Dataset.of(observed)
        spec: Any = self.estimator.spec
        if not spec.amortised and data != self.observed:
            raise EstimatorError(
                f"{spec.name!r} learned the posterior of one data set, and this is another",
                fix="study.fit(observed=this_one)")
        return self.engine.draws(n, data, rng)

    @property
    def gives(self) -> tuple[str, ...]:
        spec: Any = self.estimator.spec
        return spec.gives

    def sample_batch(self, n: int, inputs: Mapping[str, Any], rng: np.random.Generator
                     ) -> np.ndarray:
        """(m, n, d) draws for m rows of inputs; an engine may do them all at once."""
        if hasattr(self.engine, "sample_batch"):
            return np.asarray(self.engine.sample_batch(n, inputs, rng))
        m = len(next(iter(inputs.values())))
        return np.stack([self.engine.sample(n, {k: v[i] for k, v in inputs.items()}, rng)
                         for i in range(m)])

    def log_prob(self, theta: Any, observed: Any = None) -> np.ndarray:
        """Log-density of parameters (dict, Samples or matrix) given one observation."""
        if "log_prob" not in self.estimator.spec.gives:  # type: ignore[attr-defined]
            raise EstimatorError(f"{self.estimator.name!r} gives samples, no log-probabilities",
                                 fix="estimator npe gives them")
        inputs, several = self._inputs(observed)
        if several:
            raise EstimatorError("log_prob takes one observation at a time")
        matrix = self.matrix(theta)
        return np.asarray(self.engine.log_prob(matrix, {k: v[0] for k, v in inputs.items()}))

    def matrix(self, theta: Any) -> np.ndarray:
        if isinstance(theta, Mapping):
            return self.prior.pack(theta)
        return np.atleast_2d(np.asarray(theta, dtype=np.float64))

    def map(self, observed: Any = None, *, draws: int = 2000) -> dict[str, Any]:
        """The most probable parameters.

        With log-probabilities: the best of many draws, then a local search in unconstrained space.
        Without: the draw of highest density under a kernel estimate in unconstrained space.
        """
        samples = self.sample(draws, observed).values
        if samples.ndim == 3:
            raise EstimatorError("map takes one observation at a time")
        if "log_prob" in self.estimator.spec.gives:  # type: ignore[attr-defined]
            best = samples[np.argmax(self.log_prob(samples, observed))]
            best = self._climb(best, observed)
        else:
            best = samples[np.argmax(_kernel_density(self.prior.to_unconstrained(samples)))]
        return {k: v[0] for k, v in self.prior.unpack(best[None]).items()}

    def conditional(self, at: Any = None, observed: Any = None, *, points: int = 50
                    ) -> conditional.Conditional:
        """Densities of one and two parameters where the others are held at `at`, and correlations.

        at: parameters (dict or row), by default the most probable; of several, say 50 draws, the
        first is where the densities are, and the correlations are the mean over all.
        """
        return conditional.around(self, at, observed, points)

    def _climb(self, start: np.ndarray, observed: Any) -> np.ndarray:
        from scipy.optimize import minimize

        def loss(u: np.ndarray) -> float:
            value = -float(self.log_prob(self.prior.from_unconstrained(u[None])[0], observed)[0])
            return value if np.isfinite(value) else 1e300

        u0 = self.prior.to_unconstrained(start[None])[0]
        if not np.isfinite(u0).all():
            return start
        found = minimize(loss, u0, method="Nelder-Mead", options={"maxiter": 200 * len(u0)})
        return self.prior.from_unconstrained(found.x[None])[0][0] if found.fun < loss(u0) else start

    # -- files -----------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the posterior into a folder: JSON and arrays, no pickle."""
        return files.write(Path(path), self)


def load(path: str | Path, *, prior: Any = None, features: Any = None, trust: bool = False,
         folder: Path = Path()) -> Posterior:
    """A saved posterior, in a fresh process.

    `prior` and `features` must be given where they hold functions of your own, which no file keeps.
    A file may name functions in files of yours; they are imported, which runs their code, only with
    `trust=True`; `folder` is where they lie.
    """
    return Posterior(**files.read(Path(path), prior, features, trust, folder))


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(getattr(a[k], "values", a[k]), getattr(b[k], "values", b[k]), equal_nan=True)
        for k in a)


def _kernel_density(u: np.ndarray) -> np.ndarray:
    """Gaussian kernel density at the draws themselves (Scott's bandwidth), up to a constant."""
    scale = u.std(axis=0) * len(u) ** (-1 / (u.shape[1] + 4)) + 1e-300
    z = u / scale
    square = (z**2).sum(1)
    distance = square[:, None] + square[None] - 2 * z @ z.T
    return np.exp(-0.5 * np.maximum(distance, 0)).sum(1)


