"""A simulator whose every row is several trials of one parameter set.

Each trial runs with a seed of its own, a function of the row's seed and the trial's number alone.
Outputs gain a first axis, "trial".  Rows of different lengths (spike times) are laid end to end in one
ragged row, with the trials' lengths beside it: `name` and `name.trial_lengths`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from inferkit import seeds
from inferkit.data import Output, Ragged
from inferkit.errors import SimulatorError
from inferkit.plugins.records import SimulatorSpec

LENGTHS = ".trial_lengths"
PIECE = 65_536
"""At most so many trials in one call of the simulator."""


class Repeat:
    """`simulator`, `trials` times a row."""

    def __init__(self, simulator: Any, spec: SimulatorSpec, trials: int):
        self.single, self.spec, self.trials = simulator, spec, trials
        self.parameters = getattr(simulator, "parameters", None)
        declared = getattr(simulator, "outputs", None) or ()
        self.outputs = tuple(o for one in declared for o in _repeated(one, trials)) or None
        self.messages: dict[int, str] = {}
        for name in ("prepare", "check_prior", "stochastic"):  # where it has them
            if hasattr(simulator, name):
                setattr(self, name, getattr(simulator, name))

    @property
    def note(self) -> str:
        return str(getattr(self.single, "note", ""))

    def simulate(self, theta: Mapping[str, np.ndarray], row_seeds: np.ndarray) -> dict[str, Any]:
        n, m = len(row_seeds), self.trials
        theta = {k: np.repeat(v, m, axis=0) for k, v in theta.items()}
        own = seeds.trial_seeds(row_seeds, m).ravel()
        self.messages = {}
        parts = list(self._calls(theta, own))
        return {key: value for name in parts[0]
                for key, value in as_sets(name, [p[name] for p in parts], n, m).items()}

    def _calls(self, theta: dict[str, np.ndarray], own: np.ndarray) -> Iterator[dict[str, Any]]:
        """The simulator's answers, in calls of the sizes that it takes."""
        fixed = self.spec.batch_size
        step = (fixed or PIECE) if self.spec.vectorised else 1
        for a in range(0, len(own), step):
            part, here = {k: v[a : a + step] for k, v in theta.items()}, own[a : a + step]
            k = len(here)
            if fixed and k < fixed:  # a compiled batch has one shape
                part = {n: np.concatenate([v, np.repeat(v[-1:], fixed - k, 0)])
                        for n, v in part.items()}
                here = np.concatenate([here, np.repeat(here[-1:], fixed - k)])
            out = self.single.simulate(part, here)
            for i, text in getattr(self.single, "messages", {}).items():
                if i < k:
                    self.messages.setdefault((a + int(i)) // self.trials, text)
            yield {name: _rows(name, v, len(here))[:k] for name, v in _named(out).items()}


def _named(out: Any) -> Mapping[str, Any]:
    if not isinstance(out, Mapping):
        raise SimulatorError(f"simulate returned {type(out).__name__}",
                             allowed="a dict of arrays by name")
    return out


def _rows(name: str, value: Any, n: int) -> Any:
    if not isinstance(value, Ragged):
        value = np.asarray(value)
    if (len(value) if isinstance(value, Ragged) or value.ndim else 0) != n:
        raise SimulatorError(f"output {name!r} has not the {n} rows of its {n} trials",
                             allowed=f"an array of shape ({n}, …): the batch comes first")
    return value


def _repeated(one: Output, trials: int) -> Iterator[Output]:
    if one.shape is None:
        yield one
        yield Output(one.name + LENGTHS, (trials,), "int64", dims=("trial",))
        return
    dims = ("trial", *one.dims) if len(one.dims) == len(one.shape) else ()
    yield replace(one, shape=(trials, *one.shape), dims=dims, axis=None, axis_unit="")


def as_sets(name: str, parts: list[Any], n: int, m: int) -> dict[str, Any]:
    """One output of n * m trials as n rows."""
    if isinstance(parts[0], Ragged):
        rows = [row for part in parts for row in part]
        whole = Ragged.from_rows(rows, parts[0].dtype)
        return {name: Ragged(whole.values, whole.offsets[::m]),
                name + LENGTHS: whole.lengths.reshape(n, m)}
    values = np.concatenate(parts)
    return {name: values.reshape(n, m, *values.shape[1:])}


def per_trial(x: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Stored rows of sets as rows of single trials, and how many a set has."""
    out: dict[str, Any] = {}
    m = 0
    for name, value in x.items():
        if name.endswith(LENGTHS):
            continue
        if isinstance(value, Ragged):
            lengths = np.asarray(x[name + LENGTHS])
            m = lengths.shape[1]
            out[name] = Ragged(value.values, np.concatenate([[0], lengths.ravel().cumsum()]))
        else:
            m = value.shape[1]
            out[name] = value.reshape(-1, *value.shape[2:])
    return out, m
