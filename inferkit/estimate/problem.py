"""What an estimator is given.

A `Problem` is all that an estimator sees.  Training pairs come from stored simulations through the
features; new ones through `problem.simulate`, the one way to run the model forward, which goes
through the executor and lands in the store as a round of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inferkit import seeds
from inferkit.data import Chunk, Dataset, Job, Output, Parameter
from inferkit.errors import EstimatorError
from inferkit.estimate.plan import Plan
from inferkit.features import View, flatten
from inferkit.features.observe import stack
from inferkit.plugins import Component
from inferkit.simulate import points, run_chunk
from inferkit.store import SentShard, Simulations

STREAM = 1 << 41  # rounds that no store holds


class Proposal(Protocol):
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray: ...


@dataclass
class Training:
    """Rows an estimator can learn from: parameters (n, d) and inputs; `failed` rows hold NaN."""

    theta: np.ndarray
    inputs: dict[str, Any]
    ok: np.ndarray
    index: np.ndarray
    round: int = 0

    def __len__(self) -> int:
        return len(self.theta)

    @property
    def flat(self) -> np.ndarray:
        """All inputs as one matrix (n, k)."""
        return flatten(self.inputs)


@dataclass
class Problem:
    """What an estimator works on."""

    prior: Any  # a Prior; None where the study has none
    view: View
    seed: int
    folder: Path  # the fit's own: logs, and files "checkpoint*", deleted once it is finished
    tag: str  # names this fit in the store's rounds
    simulations: Simulations | None = None  # those to learn from (held-out ones are not among them)
    # Inputs, a batch of one, where the fit is for one; a Dataset where it consumes observations alone.
    observed: Any = None
    component: Component | None = None
    parameters: tuple[Parameter, ...] = ()
    outputs: dict[str, Output] = field(default_factory=dict)
    log_likelihood: Callable | None = None
    show: Callable[[str, dict], None] = lambda event, values: None
    _run: Callable[[Callable, int, int], Any] | None = None
    _job: Callable[[], Job] | None = None
    executor: Component | None = None
    spend: Callable[[int], None] = lambda n: None  # refuses new simulations where only so many may run
    _step: int = 0

    @property
    def simulator(self) -> Any:
        """The simulator itself, for estimators that use its gradient."""
        if self.component is None:
            raise EstimatorError("this problem has no simulator")
        return self.component.build()

    @property
    def trials(self) -> tuple[int, int] | None:
        """The least and greatest number of trials an observation has, where inputs are sets of them."""
        return self.view.trials if self.view.sets else None

    def rng(self, *fields: int) -> np.random.Generator:
        """A generator for training; the same fields give the same stream."""
        return seeds.generator(self.seed, "train", *fields)

    def training(self, simulations: Simulations | None = None) -> Training:
        """Parameters and inputs of all rows, in memory.  Failed rows are kept, marked by `ok`."""
        table = self.simulations if simulations is None else simulations
        if table is None:
            raise EstimatorError("there are no simulations yet", fix="study.simulate(1000)")
        theta = self.prior.pack(table.theta) if len(table) else np.empty((0, self.prior.dim))
        return Training(theta, self.view.of(table), table.status == 0, table.index,
                        int(table.round[0]) if len(table) else 0)

    def batches(self, rows: np.ndarray | None = None) -> Iterator[Training]:
        """The same, or `rows` of them, a part at a time, for stores larger than memory."""
        table = self.simulations
        if table is None:
            raise EstimatorError("there are no simulations yet", fix="study.simulate(1000)")
        places = np.arange(len(table)) if rows is None else rows
        for a in range(0, len(places), table.part):
            yield self.training(table.select(places[a : a + table.part]))

    def simulate(self, proposal: Proposal | np.ndarray, n: int | None = None, *,
                 step: int | None = None) -> Training:
        """Run the model on new parameters: a matrix (n, d), or n draws of a proposal.

        Rows land in the store as a round of this fit.  Begun again, the fit finds what it has
        proposed before (even where the proposal would now differ in a last digit).  Calls are told
        apart by their order, or by `step` where a resumed fit does not repeat them all.
        """
        if self._run is None or self.simulations is None:
            raise EstimatorError("this problem cannot simulate")
        if step is None:
            step, self._step = self._step, self._step + 1
        plan = Plan(self.simulations.store, f"{self.tag}-{step}")
        matrix = plan.theta
        if matrix is None:
            rng = seeds.generator(self.seed, "theta", 1 << 40, step)
            matrix = (np.asarray(proposal, dtype=np.float64) if isinstance(proposal, np.ndarray)
                      else np.asarray(proposal.sample(int(n or 0), rng)))
            plan.write(matrix)
        unpacked = self.prior.unpack(matrix)
        self._run(lambda index: {k: v[index] for k, v in unpacked.items()}, plan.round, len(matrix))
        return self.training(Simulations(self.simulations.store, plan.round, stop=len(matrix)))

    def stream(self, proposal: Proposal, n: int, *, step: int) -> Training:
        """The same in this process, and forgotten: for a cheap simulator whose rows are used once.

        Nothing is stored.  Parameters and seeds are a function of (study seed, step), so a fit
        that is begun again sees the same rows; failed ones are left out.
        """
        if self._job is None:
            raise EstimatorError("this problem cannot simulate")
        self.spend(n)
        matrix = np.asarray(proposal.sample(n, seeds.generator(self.seed, "theta", STREAM, step)))
        chunk = Chunk(f"stream-{step}", STREAM + step, np.arange(n), self.prior.unpack(matrix))
        receipt = run_chunk(replace(self._job(), store=None), chunk)
        if receipt.error is not None:
            raise receipt.error
        parts = []
        for name, data in receipt.payload:
            rows = SentShard(name, data).rows()
            ok = np.flatnonzero(rows.status == 0)
            if len(ok):
                inputs = {k: v[ok] for k, v in rows.x.items()}
                parts.append((rows.index[ok], self.view(inputs)))
        if not parts:
            raise EstimatorError(f"all {n} simulations failed: {'; '.join(receipt.messages[:1])}",
                                 fix="inferkit check study.toml")
        index = np.concatenate([at for at, _ in parts])
        inputs = {k: stack([part[k] for _, part in parts]) for k in parts[0][1]}
        return Training(matrix[index], inputs, np.ones(len(index), bool), index, STREAM + step)

    def each(self, function: Callable, among: Iterable[dict[str, Any]], *, step: str = "each",
             timeout: float | None = None) -> list[dict]:
        """function(**point, path=a folder of its own) at every point, each a job on the executor.

        Points are plain values, results what JSON holds; large things go into files under `path`.
        What is finished is kept with the fit, so a fit begun again repeats none.  A row that
        failed says so in "status" and "message".
        """
        if self.executor is None:
            raise EstimatorError("this problem has no executor")
        return points.run(function, points.numbered(among, step), path=self.folder / step,
                          executor=self.executor, identity={"fit": self.tag, "step": step},
                          timeout=timeout, noun=step)


def fit_tag(estimator: Component, view: View, observed: Mapping[str, Any] | Dataset | None,
            seed: int, rows: int, attempt: int = 0) -> str:
    """A short digest of what a fit depends on: the name of its folder and of its rounds.

    attempt: the latest at the rows; after another, some that failed may be there.
    """
    h = hashlib.blake2b(digest_size=6)
    told = [estimator.identity(), view.digest, seed, rows, *([attempt] if attempt else [])]
    h.update(json.dumps(told, sort_keys=True).encode())
    h.update(_bytes_of(observed))
    return f"{estimator.name}-{h.hexdigest()}"


def digest(inputs: Mapping[str, Any] | Dataset | None) -> str:
    """A short digest of an observation."""
    return hashlib.blake2b(_bytes_of(inputs), digest_size=6).hexdigest()


def _bytes_of(inputs: Mapping[str, Any] | Dataset | None) -> bytes:
    if isinstance(inputs, Dataset):
        return inputs.digest.encode()
    return b"".join(name.encode() + np.ascontiguousarray(getattr(value, "values", value)).tobytes()
                    for name, value in sorted((inputs or {}).items()))
