"""The rows to train on, as tensors: in memory, or in a scratch file where they are larger than it.

Simulations are read once, a part at a time, and kept as standardised float32 columns (parameters, then
each input).  Columns that outgrow `memory` move to scratch files beside the fit's checkpoint.  An epoch
then shuffles blocks of rows, reads as many as a quarter of `memory` holds, and shuffles their rows, so
that the disk is read in long stretches and memory stays flat.

`Fresh` is the other source: every epoch is a new round of simulations, each row seen once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from inferkit.data import Ragged
from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training

EPOCH = 50_000
BLOCK = 64  # rows on disk that stay together
HELD_AT_MOST = 50_000
SCALING_ROWS = 50_000
FEW = 100  # rows that are held however large they are
Batch = list[torch.Tensor]
Columns = Callable[[Training], list[np.ndarray]]  # usable rows as float32 arrays


class Table:
    """Columns of float32 rows."""

    def __init__(self, memory: float, folder: Path, device: torch.device):
        self.limit, self.folder, self.device = memory, folder, device
        self.parts: list[list[np.ndarray]] = []
        self.files: list[Any] = []
        self.columns: list[Any] = []
        self.n, self.bytes = 0, 0

    def __len__(self) -> int:
        return self.n

    @property
    def on_disk(self) -> bool:
        return bool(self.files)

    @property
    def fitting(self) -> int:
        """Rows that may be held in memory at once: a quarter of what is allowed."""
        return int(np.clip(self.limit / 4 * self.n / max(self.bytes, 1), FEW, HELD_AT_MOST))

    def append(self, columns: Sequence[np.ndarray]) -> None:
        columns = [np.ascontiguousarray(c, dtype=np.float32) for c in columns]
        self.n += len(columns[0])
        self.bytes += sum(c.nbytes for c in columns)
        self.parts.append(columns)
        if self.bytes > self.limit or self.on_disk:
            self._spill()

    def _spill(self) -> None:
        try:
            if not self.files:
                self.files = [tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
                              for _ in self.parts[0]]
                self.shapes = [c.shape[1:] for c in self.parts[0]]
            for columns in self.parts:
                for file, c in zip(self.files, columns):
                    file.write(memoryview(c).cast("B") if c.size else b"")
        except OSError as cause:
            raise EstimatorError(
                f"training needs scratch space in {self.folder}: {cause}",
                fix="a larger `memory` in [estimator], or a run folder on a larger disk") from cause
        self.parts = []

    def close(self) -> Table:
        """All rows are in."""
        if self.on_disk:
            for file in self.files:
                file.flush()
        elif self.parts:
            self.columns = [torch.as_tensor(np.concatenate(c)).to(self.device)
                            for c in zip(*self.parts)]
        self.parts = []
        return self

    def take(self, at: np.ndarray) -> list[torch.Tensor]:
        if not self.on_disk:
            index = torch.as_tensor(at, device=self.device)
            return [c[index] for c in self.columns]
        order = np.argsort(at, kind="stable")
        back = torch.as_tensor(np.argsort(order))
        return [torch.as_tensor(c)[back].to(self.device) for c in self._read(at[order])]

    def _read(self, at: np.ndarray) -> Iterator[np.ndarray]:
        """Rows in rising order, a column at a time.

        By reads, not a memory map: a page touched there may bring megabytes of others into memory.
        """
        runs = np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) != 1) + 1)
        for file, shape in zip(self.files, self.shapes):
            out = np.empty((len(at), *shape), np.float32)
            for run in runs if out.size else ():
                file.seek(int(at[run[0]]) * out[0].nbytes)
                file.readinto(memoryview(out[run[0] : run[-1] + 1]).cast("B"))
            yield out


def fill(parts: Iterable[Training], columns: Columns, memory: float, folder: Path,
         device: torch.device) -> Table:
    table = Table(memory, folder, device)
    for part in parts:
        if len(part):
            table.append(columns(part))
    return table.close()


def parts_of(problem: Problem, rounds: Sequence[Training] = ()) -> Iterator[Training]:
    """Stored simulations a part at a time, then the rows of later rounds."""
    yield from problem.batches()
    yield from rounds


def spread(problem: Problem, memory: float) -> Training:
    """All stored rows, or as many at even distances as fit: what scales and shapes are learned from."""
    n = len(problem.simulations or ())
    if not n:
        return problem.training()
    first = next(problem.batches(np.arange(1)))
    each = sum(np.asarray(getattr(v, "values", v)).nbytes for v in first.inputs.values())
    # Medians and deviations need several copies in double precision.
    most = int(np.clip(memory * 1e9 / 10 // max(each, 1), FEW, SCALING_ROWS))
    parts = list(problem.batches(np.linspace(0, n - 1, min(n, most)).astype(int)))
    return Training(np.concatenate([p.theta for p in parts]),
                    {k: joined([p.inputs[k] for p in parts]) for k in first.inputs},
                    np.concatenate([p.ok for p in parts]), np.concatenate([p.index for p in parts]))


def joined(values: list[Any]) -> Any:
    if isinstance(values[0], Ragged):
        return Ragged.from_rows([row for v in values for row in v], values[0].values.dtype)
    return np.concatenate(values)


class Source(Protocol):
    """Where batches come from; `size` rows a batch, `steps` an epoch."""

    size: int
    steps: int
    validation: Batch

    def epoch(self, epoch: int) -> Iterator[Batch]: ...

    def first(self, n: int) -> Batch:
        """Some rows, n at most, that a network may begin from."""


class Stored:
    """Training and validation rows of a table.

    `group` rows are trials of one simulation, which are all for training or all for validation.  Where
    they are many, an epoch takes other ones of each simulation every time, EPOCH rows or so in all.
    """

    def __init__(self, table: Table, config: Any, seed: int, group: int = 1):
        n = len(table) // group
        order = np.random.default_rng([seed, 1]).permutation(n)
        held = min(max(1, int(config.validation * n)), max(1, table.fitting // group))
        self.table, self.seed = table, seed
        self.validation = table.take(members(np.sort(order[:held]), group))
        self.rows = members(np.sort(order[held:]), group)
        self.group, self.used = group, min(group, max(1, EPOCH // (n - held or 1)))
        if len(self.rows) < 2:
            raise EstimatorError(f"{n} simulations are too few to train on",
                                 fix="study.simulate(1000)")
        count = len(self.rows) // group * self.used
        self.size = batch_size(count, config.batch)
        self.steps = -(-count // self.size)

    def first(self, n: int) -> Batch:
        at = np.linspace(0, len(self.rows) - 1, min(n, len(self.rows), self.table.fitting)).astype(int)
        return self.table.take(self.rows[at])

    def epoch(self, epoch: int) -> Iterator[list[torch.Tensor]]:
        rng = np.random.default_rng([self.seed, 2, epoch])
        rows = self.rows
        if self.used < self.group:
            turn = (epoch * self.used + np.arange(self.used)) % self.group
            rows = rows.reshape(-1, self.group)[:, np.sort(turn)].ravel()
        if not self.table.on_disk:
            shuffled = rng.permutation(rows)
            yield from (self.table.take(shuffled[a : a + self.size])
                        for a in range(0, len(shuffled), self.size))
            return
        blocks = np.array_split(rows, max(1, len(rows) // BLOCK))
        order = rng.permutation(len(blocks))
        together = max(1, self.table.fitting // BLOCK, self.size // BLOCK)
        for a in range(0, len(order), together):
            held = self.table.take(rng.permutation(
                np.concatenate([blocks[i] for i in order[a : a + together]])))
            yield from map(list, zip(*(c.split(self.size) for c in held)))


def members(groups: np.ndarray, size: int) -> np.ndarray:
    """The rows of groups of `size` rows each."""
    return (groups[:, None] * size + np.arange(size)).ravel()


def singles(inputs: dict[str, Any]) -> dict[str, Any]:
    """Sets of trials (n, m, …) as single ones (n * m, …)."""
    return {k: v.reshape(-1, *v.shape[2:]) for k, v in inputs.items()}


class Fresh:
    """New simulations of the prior for every epoch, validated on the stored ones.

    Each epoch is a round in the store (seeds, rows and all), found again when a fit is resumed.
    """

    def __init__(self, problem: Problem, stored: Table, columns: Columns, config: Any, seed: int,
                 group: int = 1):
        self.problem, self.columns, self.n = problem, columns, config.online
        held = min(len(stored), stored.fitting)
        if held < 20:
            raise EstimatorError(f"online training is validated on stored simulations, and {held} are "
                                 "usable", fix="study.simulate(1000)")
        self.validation = stored.take(np.arange(held))
        self.seed, self.device = seed, stored.device
        rows = self.n * group
        self.size = min(rows, config.batch or 200)  # rows are cheap here, steps are what counts
        self.steps = -(-rows // self.size)

    def first(self, n: int) -> Batch:
        return [c[:n] for c in self.validation]

    def epoch(self, epoch: int) -> Iterator[list[torch.Tensor]]:
        drawn = self.problem.simulate(_FromPrior(self.problem.prior), self.n, step=epoch)
        held = [torch.as_tensor(np.asarray(c, np.float32)).to(self.device)
                for c in self.columns(drawn)]
        order = torch.as_tensor(np.random.default_rng([self.seed, 2, epoch]).permutation(len(held[0])))
        for at in order.to(self.device).split(self.size):
            yield [c[at] for c in held]


class _FromPrior:
    def __init__(self, prior: Any):
        self.prior = prior

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.prior.pack(self.prior.sample(n, rng))


def batch_size(n: int, wanted: int) -> int:
    """About twenty steps an epoch, within what a CPU does well."""
    return min(n, wanted) if wanted else int(np.clip(n // 20, min(n, 200), 1000))
