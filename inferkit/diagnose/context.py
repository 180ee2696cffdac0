"""What diagnostics and the report look at: a fitted study, its posterior, and one observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inferkit import features, seeds
from inferkit.data import Dataset, Draws, Ragged, Trials
from inferkit.estimate import Problem, Training
from inferkit.plugins.repeat import per_trial
from inferkit.posterior import Posterior, Samples
from inferkit.protocols import Prior
from inferkit.store import Simulations, Store

CALIBRATION_ROWS = 200
CALIBRATION_DRAWS = 500
ARRAY_DRAWS = 100


@dataclass
class Calibration:
    """Posterior draws for held-out simulations, shared by SBC, coverage, TARP and contraction.

    theta: (m, d) true parameters; draws: (m, n, d); inputs: what the estimator saw of each.
    """

    theta: np.ndarray
    draws: np.ndarray
    inputs: dict[str, Any]


@dataclass
class Predictive:
    """Simulations of posterior draws for the observation: parameters, raw outputs, inputs, ok.

    Of several trials, x holds the mean over them (of ragged outputs, the first).
    """

    theta: np.ndarray
    x: dict[str, Any]
    inputs: dict[str, Any]
    ok: np.ndarray


class Examined(Protocol):
    """What is asked of a study here."""

    seed: int
    path: Path
    truth: Mapping[str, Any] | None

    @property
    def prior(self) -> Prior: ...
    @property
    def has(self) -> set[str]: ...
    @property
    def store(self) -> Store: ...
    @property
    def simulations(self) -> Simulations: ...
    @property
    def training(self) -> Simulations: ...
    @property
    def held_out(self) -> Simulations: ...
    @property
    def simulator(self) -> Any: ...
    @property
    def executor(self) -> Any: ...
    def run_round(self, theta: np.ndarray, tag: str) -> Simulations: ...


class Context:
    """What diagnostics and the report look at; costly parts are computed once, when asked for."""

    def __init__(self, study: Examined, posterior: Posterior, observed: Any = None):
        self.study, self.posterior, self.observed = study, posterior, observed
        self.prior, self.view = posterior.prior, posterior.view
        self.asked: frozenset[str] = frozenset()  # checks that were named
        self.estimator: Any = posterior.estimator.spec

    def rng(self, *fields: int) -> np.random.Generator:
        return seeds.generator(self.study.seed, "diagnose", *fields)

    @cached_property
    def observed_inputs(self) -> dict[str, Any] | None:
        """The observation as a batch of one of the estimator's inputs, or None."""
        if self.observed is None or isinstance(self.posterior.observed, Dataset):
            return self.posterior.observed
        return features.observe(self.observed, self.view)[0]

    @cached_property
    def trials(self) -> int | None:
        """How many trials an observation has; None where it is a single simulation."""
        inputs = self.observed_inputs
        told = inputs is not None and not isinstance(inputs, Dataset)
        found = self.view.trials_of(inputs) if told else None  # type: ignore[arg-type]
        return found if found is not None or not self.view.trials else self.view.trials[1]

    def cut(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Inputs of stored sets of trials, with as many of them as the observation has."""
        return {k: v[:, : self.trials] for k, v in inputs.items()} if self.view.sets else inputs

    @property
    def has(self) -> set[str]:
        """Of "simulator", "parameters" (named numbers), "arrays", and "densities" (of any simulation's
        posterior, at once), what there is to examine."""
        gives = set(self.posterior.gives)
        named = self.study.has if "samples" in gives else self.study.has - {"parameters"}
        quick = "log_prob" in gives and self.estimator.amortised and not self.estimator.iid
        return named | {"arrays"} & gives | ({"densities"} if quick else set())

    @cached_property
    def draws(self) -> Draws | None:
        """Draws of the posterior's arrays, where it has any."""
        if "arrays" not in self.posterior.gives:
            return None
        return self.posterior.draws(ARRAY_DRAWS, self.observed, seed=self.study.seed)

    @cached_property
    def samples(self) -> Samples | None:
        """Posterior draws of the parameters given the observation."""
        if "parameters" not in self.has or self.observed_inputs is None:
            return None
        if self.observed is None:
            return self.posterior.sample(2000, seed=self.study.seed)
        return self.posterior.sample(2000, self.observed, seed=self.study.seed)

    @cached_property
    def singles(self) -> list[Context]:
        """One of these for each of several observations, with its share of the draws."""
        if self.samples is None or self.samples.values.ndim == 2:
            return []
        return [self._single(i) for i in range(len(self.samples))]

    def _single(self, i: int) -> Context:
        given = self.observed
        if isinstance(given, Mapping):
            given = {name: value[i] for name, value in given.items()}
        elif given is not None:
            given = given[i]
        one = Context(self.study, self.posterior, given)
        assert self.samples is not None
        one.__dict__["samples"] = self.samples[i]  # the same draws as of all together
        one.__dict__["truth"] = None  # it is of one of them, and nobody says of which
        return one

    @cached_property
    def truth(self) -> np.ndarray | None:
        """The true parameters (d,) behind synthetic data, where they are known."""
        told = self.study.truth
        if told is None:
            return None
        return self.prior.pack({k: np.asarray(v)[None] for k, v in told.items()})[0]

    @cached_property
    def held_out(self) -> Any:
        """Held-out rows: `Training` with theta (m, d), inputs, ok.

        Of several trials, as many as the observation has; where single ones are stored, they are
        simulated for the first held-out parameters.
        """
        table = self.study.held_out
        problem = Problem(self.prior, self.view, self.study.seed, self.study.path, "", table)
        rows = problem.training()
        if self.trials is None or self.view.trials:
            return replace(rows, inputs=self.cut(rows.inputs))
        theta = rows.theta[:CALIBRATION_ROWS]
        x, ok = self.simulated(theta, "trials")
        return Training(theta, self.view.of_trials(x, self.trials), ok, rows.index[: len(theta)])

    def simulated(self, theta: np.ndarray, tag: str) -> tuple[dict[str, Any], np.ndarray]:
        """Simulations of each theta, its trials one after the other, and whether they worked."""
        m = self.trials
        if m is None or self.view.trials:
            table = self.study.run_round(theta, tag)
            x, ok = table.x(), table.status == 0
            if m is None:
                return x, ok
            x, most = per_trial(x)
            first = (np.arange(len(theta))[:, None] * most + np.arange(m)).ravel()
            return {k: v[first] for k, v in x.items()}, ok
        table = self.study.run_round(np.repeat(theta, m, axis=0), f"{tag}-{m}")
        return table.x(), (table.status == 0).reshape(-1, m).all(axis=1)

    @cached_property
    def calibration(self) -> Calibration | None:
        """Draws for up to CALIBRATION_ROWS held-out simulations; None where that makes no sense."""
        if not self.estimator.amortised:
            return None
        rows = self.held_out
        ok = rows.ok
        if "log_likelihood" in self.estimator.gives:  # it judges outcomes all of which are defined
            ok = ok & ~np.isnan(features.flatten(rows.inputs)).any(axis=1)
        use = np.flatnonzero(ok)[:CALIBRATION_ROWS]
        if len(use) < 20:
            return None
        inputs = {k: v[use] for k, v in rows.inputs.items()}
        draws = self.posterior.sample_batch(CALIBRATION_DRAWS, inputs, self.rng(1))
        return Calibration(rows.theta[use], draws, inputs)

    @cached_property
    def predictive(self) -> Predictive | None:
        """Simulations of 200 posterior draws for the observation (stored as a round)."""
        if self.samples is None or self.samples.values.ndim != 2:
            return None
        theta = self.samples.values[:: max(1, len(self.samples) // 200)][:200]
        x, ok = self.simulated(theta, f"{self.posterior.info.get('fit')}-predictive")
        if m := self.trials:
            return Predictive(theta, _pooled(x, m), self.view.of_trials(x, m), ok)
        x = self.as_observed(x, theta, self.rng(2))
        return Predictive(theta, x, self.view(x), ok)

    def as_observed(self, x: dict[str, Any], theta: np.ndarray, rng: np.random.Generator
                    ) -> dict[str, Any]:
        """Simulated outputs as data: with the noise of an estimator that models the observation."""
        noisy = getattr(self.posterior.engine, "as_observed", None)
        return x if noisy is None else noisy(x, theta, rng)

    def prior_inputs(self, table: Simulations) -> dict[str, Any]:
        """What the estimator would see of stored simulations, had they been observed."""
        if self.trials is not None and not self.view.trials:  # single trials are stored
            return {k: v[self.held_out.ok] for k, v in self.held_out.inputs.items()}
        if not hasattr(self.posterior.engine, "as_observed"):
            return self.cut(self.view.of(table))
        return self.view(self.as_observed(table.x(), self.prior.pack(table.theta), self.rng(3)))

    @cached_property
    def observed_raw(self) -> Mapping[str, Any] | None:
        """The observation as raw outputs by name (no batch axis), or None; trials pooled as there."""
        observed = self.observed
        held = self.posterior.observed
        if observed is None and self.view.raw and held is not None and not isinstance(held, Dataset):
            observed = {k: v[0] for k, v in held.items()
                        if k != features.FEATURES}
        if observed is None or _listed(observed):
            return None
        if isinstance(observed, Trials):
            observed = observed.x
        if not isinstance(observed, Mapping):
            observed = {next(iter(self.view.outputs)): observed}
        if not observed.keys() <= self.view.outputs.keys():
            return None
        if self.trials is None:
            return observed
        pooled = {}
        for name, value in observed.items():
            rows = list(value)
            ragged = self.view.outputs[name].shape is None
            pooled[name] = rows[0] if ragged else np.mean(np.asarray(rows, dtype=float), axis=0)
        return pooled


def _listed(observed: Any) -> bool:
    """Whether it is several observations, one by one."""
    return isinstance(observed, (list, tuple)) and any(
        isinstance(o, (Mapping, Trials)) for o in observed)


def _pooled(x: Mapping[str, Any], m: int) -> dict[str, Any]:
    """Trials (n * m, …) as one row for each set: their mean, or the first where they are ragged."""
    return {name: value[::m] if isinstance(value, Ragged)
            else value.reshape(-1, m, *value.shape[1:]).mean(axis=1) for name, value in x.items()}
