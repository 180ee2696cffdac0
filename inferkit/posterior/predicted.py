"""Simulations of parameter draws, in memory: what a prior or a posterior predicts."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from inferkit import seeds, shown
from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, unknown_name
from inferkit.features import outputs_of
from inferkit.plugins.repeat import LENGTHS, as_sets
from inferkit.store import Simulations


@dataclass(frozen=True, eq=False)
class Predicted:
    """n simulations: `predicted["V"]` is (n, …), rows that failed are NaN (0 in whole numbers).

    theta: the parameters, by name.  x: outputs, by name.  ok: which rows worked; `failure` is what
    the others said most often.  trials: each row is so many trials of one parameter set (first axis).
    """

    theta: dict[str, np.ndarray]
    x: dict[str, Any]
    ok: np.ndarray
    messages: list[str] = field(default_factory=list)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    trials: int | None = None

    @classmethod
    def of(cls, table: Simulations, outputs: Mapping[str, Output], trials: int | None = None
           ) -> Predicted:
        """Stored rows."""
        return cls(table.theta, table.x(), table.status == 0, table.messages, outputs, trials)

    @classmethod
    def of_single(cls, table: Simulations, outputs: Mapping[str, Output], trials: int) -> Predicted:
        """Rows of single trials, the trials of one parameter set one after the other."""
        n = len(table) // trials
        x = {key: value for name, rows in table.x().items()
             for key, value in as_sets(name, [rows], n, trials).items()}
        ok = (table.status == 0).reshape(n, trials).all(axis=1)
        told = [next(filter(None, table.messages[i * trials : (i + 1) * trials]), "") for i in range(n)]
        return cls({k: v[::trials] for k, v in table.theta.items()}, x, ok, told, outputs, trials)

    def told(self) -> Predicted:
        """Itself, with a warning where some failed."""
        if not self.ok.all():
            warnings.warn(f"{int((~self.ok).sum()):,} of {len(self):,} simulations failed, most often: "
                          f"{self.failure}; .ok says which", stacklevel=3)
        return self

    def __len__(self) -> int:
        return len(self.ok)

    def __getitem__(self, name: str) -> Any:
        if name not in self.x:
            raise unknown_name("output", name, self.x)
        return self.x[name]

    @property
    def failure(self) -> str:
        """The commonest message of those that failed."""
        told = Counter(m for m, ok in zip(self.messages, self.ok) if not ok)
        return told.most_common(1)[0][0] if told else ""

    def pooled(self) -> Predicted:
        """Rows of several trials as one each: their mean, of ragged outputs the first."""
        if self.trials is None:
            return self
        x: dict[str, Any] = {}
        for name, value in self.x.items():
            if name.endswith(LENGTHS):
                continue
            if isinstance(value, Ragged):
                first = np.asarray(self.x[name + LENGTHS])[:, 0]
                x[name] = Ragged.from_rows([row[:k] for row, k in zip(value, first)], value.dtype)
            else:
                x[name] = np.asarray(value, dtype=float).mean(axis=1)
        return replace(self, x=x, trials=None)

    def __repr__(self) -> str:
        failed = int((~self.ok).sum())
        told = f"{len(self):,} simulations" + (f", {failed:,} failed: {self.failure}" if failed else "")
        if self.trials:
            told += f", {self.trials} trials each"
        lines = [f"  {name:<16} {described(value)}" for name, value in self.x.items()]
        return "\n".join([told, *lines])

    def _repr_html_(self) -> str:
        told, *_ = repr(self).split("\n")
        return shown.titled(told, shown.table(
            ["output", "unit", "shape"],
            [(name, self.outputs[name].unit if name in self.outputs else "", described(value))
             for name, value in self.x.items()]))


def of_prior(study: Any, n: int) -> Predicted:
    """n simulations of a study's prior: stored ones, or a round of their own."""
    if n < 1:
        raise ConfigError(f"prior_predictive({n!r})", allowed="a number of simulations, 1 or more")
    table = study.simulations.select(slice(0, n))
    if len(table) < n:
        study.check_names()
        drawn = study.prior.sample(n, seeds.generator(study.seed, "predict", n))
        table = study.run_round(study.prior.pack(drawn), "prior-predictive")
    return Predicted.of(table, _outputs(study, table), study.trials and study.trials[1]).told()


def of_draws(study: Any, theta: np.ndarray, tag: str, trials: int | None) -> Predicted:
    """Simulations of parameters (n, d), several trials of each where an observation has several."""
    if trials is None or study.trials is not None:
        table = study.run_round(theta, tag)
        return Predicted.of(table, _outputs(study, table), study.trials and study.trials[1])
    table = study.run_round(np.repeat(theta, trials, axis=0), f"{tag}-{trials}")
    return Predicted.of_single(table, _outputs(study, table), trials)


def _outputs(study: Any, table: Simulations) -> dict[str, Output]:
    return outputs_of(study.built, table, study.trials)


def described(value: Any) -> str:
    """An output's shape in words."""
    if isinstance(value, Ragged):
        counts = value.lengths
        return f"ragged, {int(counts.min()) if len(counts) else 0} to " \
               f"{int(counts.max()) if len(counts) else 0} values a row"
    return f"{np.shape(value)}"
