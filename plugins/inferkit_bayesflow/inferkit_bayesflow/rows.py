"""Where batches come from: rows that are stored, or fresh simulations for every epoch.

Rows are float32 columns: z first, then conditions and summarised inputs.  Those that outgrow
`memory` are kept in scratch files, which the fit reads a batch at a time.  An epoch's order depends
on (seed, epoch) alone.  Batches are full: what is left over at an epoch's end sits that epoch out,
since another shape would have the step compiled twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit_bayesflow.config import BayesFlowConfig
from inferkit_bayesflow.inputs import Inputs

Batch = list[np.ndarray]
Columns = Callable[[Training], Batch]
FEWEST = 20
HELD_OUT_AT_MOST = 20_000
SIZES = 3


class Source(Protocol):
    """`size` rows a batch, `steps` an epoch; `validation` in batches, all of one size."""

    size: int
    steps: int
    validation: list[Batch]

    def epoch(self, epoch: int) -> Iterator[Batch]: ...


def table(parts: Iterable[Training], columns: Columns, memory: float, folder: Path) -> Batch:
    """All rows' columns; as memory maps of scratch files where they are larger than `memory`."""
    held: list[Batch] = []
    files: list[Any] = []
    nbytes = 0
    for part in parts:
        made = [np.ascontiguousarray(c, np.float32) for c in columns(part)]
        nbytes += sum(c.nbytes for c in made)
        held.append(made)
        if nbytes > memory or files:
            try:
                files = files or [tempfile.TemporaryFile(dir=folder) for _ in made]  # noqa: SIM115
                for rows in held:
                    for file, c in zip(files, rows):
                        file.write(c.tobytes())
            except OSError as cause:
                raise EstimatorError(
                    f"training needs scratch space in {folder}: {cause}",
                    fix="a larger `memory` in [estimator], or a run folder on a larger disk") from cause
            shapes = [c.shape[1:] for c in made]
            held = []
    if not files:
        return [np.concatenate(c) for c in zip(*held)]
    out: Batch = []
    for file, shape in zip(files, shapes):
        file.flush()
        row = int(np.prod(shape, dtype=int)) * 4
        n = file.tell() // row if row else len(out[0])
        out.append(np.memmap(file, np.float32, "r", shape=(n, *shape)) if row
                   else np.empty((n, *shape), np.float32))
    return out


def in_batches(columns: Batch, rows: np.ndarray, size: int) -> list[Batch]:
    return [[c[rows[a : a + size]] for c in columns] for a in range(0, len(rows) - size + 1, size)]


class Stored:
    """Training and validation rows of a table."""

    def __init__(self, columns: Batch, config: BayesFlowConfig, seed: int):
        n = len(columns[0])
        if n < FEWEST:
            raise EstimatorError(f"{n} simulations are too few to train on", fix="study.simulate(1000)")
        order = np.random.default_rng([seed, 1]).permutation(n)
        held = int(np.clip(config.validation * n, 2, HELD_OUT_AT_MOST))
        self.columns, self.seed, self.rows = columns, seed, np.sort(order[held:])
        self.size = min(config.rows_a_step(len(self.rows)), len(self.rows))
        self.steps = len(self.rows) // self.size
        self.validation = in_batches(columns, np.sort(order[:held]), min(self.size, held))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng([self.seed, 2, epoch]).permutation(self.rows)
        for a in range(0, self.steps * self.size, self.size):
            at = np.sort(order[a : a + self.size])
            yield [c[at] for c in self.columns]


class Fresh:
    """New simulations of the prior for every epoch, validated on the stored ones."""

    def __init__(self, problem: Problem, stored: Batch, columns: Columns, config: BayesFlowConfig,
                 seed: int):
        n = min(len(stored[0]), HELD_OUT_AT_MOST)
        if n < FEWEST:
            raise EstimatorError(f"online training is validated on stored simulations, and {n} are "
                                 "usable", fix="study.simulate(1000)")
        self.problem, self.columns, self.config, self.seed = problem, columns, config, seed
        self.size = config.rows_a_step(config.online)
        self.steps = config.online // self.size
        self.validation = in_batches(stored, np.arange(n), min(self.size, n))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        simulate = self.problem.simulate if self.config.keep else self.problem.stream
        held = self.columns(simulate(_FromPrior(self.problem.prior), self.config.online, step=epoch))
        order = np.random.default_rng([self.seed, 2, epoch]).permutation(len(held[0]))
        yield from in_batches(held, order, self.size)


class Varied:
    """A source of sets of trials whose number varies: a batch has so many of them, picked at random.

    The numbers are SIZES between the least and the greatest, since each has the step compiled.
    """

    def __init__(self, source: Source, inputs: Inputs, seed: int):
        self.source, self.inputs, self.seed = source, inputs, seed
        self.size, self.steps = source.size, source.steps
        assert inputs.trials is not None
        low, high = inputs.trials
        self.numbers = np.unique(np.geomspace(low, high, SIZES).round().astype(int))
        self.validation = list(self._some(source.validation, 0))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return self._some(self.source.epoch(epoch), epoch + 1)

    def _some(self, batches: Iterable[Batch], which: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, 4, which])
        for i, (z, conditions, trials) in enumerate(batches):
            k = self.numbers[i % len(self.numbers)] if not which else rng.choice(self.numbers)
            at = np.sort(rng.permutation(trials.shape[1])[:k])
            yield [z, self.inputs.counted(len(conditions), k), trials[:, at]]


class _FromPrior:
    def __init__(self, prior: Any):
        self.prior = prior

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.prior.pack(self.prior.sample(n, rng))


def usable(rows: Training) -> Training:
    """Rows that did not fail.  For p(theta | x) leaving them out is right: a failed row has no x."""
    if rows.ok.all():
        return rows
    return Training(rows.theta[rows.ok], {k: v[rows.ok] for k, v in rows.inputs.items()},
                    rows.ok[rows.ok], rows.index[rows.ok], rows.round)


def counted(parts: Iterable[Training], seen: list[int]) -> Iterator[Training]:
    """The usable rows of parts; `seen` gets how many there were, and how many could be used."""
    for part in parts:
        good = usable(part)
        seen[0] += len(part)
        seen[1] += len(good)
        if len(good):
            yield good


def sizes(columns: Sequence[np.ndarray]) -> list[list[int]]:
    """The shape of a row of each column."""
    return [list(c.shape[1:]) for c in columns]
