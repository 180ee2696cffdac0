"""The estimate stage: what an estimator is given, and whether it fits the study at all.

A `Problem` is all that an estimator sees.  Training pairs come from stored simulations through the
features; new ones through `problem.simulate`, the one way to run the model forward, which goes
through the executor and lands in the store as a round of its own.  A round's parameters are
written down before it runs, under the fit and the step that asked for them, so that a fit begun
again finds its rounds and repeats none.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inferkit import plugins, seeds
from inferkit.data import Chunk, Dataset, Job, Output, Parameter
from inferkit.errors import EstimatorError, StoreError
from inferkit.features import View, flatten
from inferkit.features.observe import stack
from inferkit.plugins import Component, EstimatorSpec, SimulatorSpec
from inferkit.simulate import points, run_chunk
from inferkit.store import (
    UNREADABLE,
    SentShard,
    Simulations,
    Store,
    make_folder,
    write_atomic,
    writing_to,
)

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


class Plan:
    """A round's parameters, written before any of its simulations runs."""

    def __init__(self, store: Store, tag: str):
        self.folder = store.path / "rounds"
        self.digest = hashlib.blake2b(tag.encode(), digest_size=8).hexdigest()
        self.store = store
        found = sorted(self.folder.glob(f"r*-{self.digest}.npy"))
        self.theta: np.ndarray | None = None
        if found:
            self.round = int(found[0].name[1:5])
            self.theta = _read_plan(found[0])

    def write(self, theta: np.ndarray) -> None:
        """Claim the next number that no other process has, and write the parameters down."""
        make_folder(self.folder)
        taken = {int(p.name[1:5]) for p in self.folder.glob("r*")} | set(self.store.rounds())
        self.round = max(taken | {0}) + 1
        held = io.BytesIO()
        np.save(held, theta)
        told = {"crc": zlib.crc32(held.getvalue()), "plan": self.digest}
        while True:
            try:
                with (writing_to(self.folder),
                      (self.folder / f"r{self.round:04d}.claim").open("x") as claim):
                    claim.write(json.dumps(told))
                break
            except FileExistsError:
                self.round += 1
        write_atomic(self.folder / f"r{self.round:04d}-{self.digest}.npy", [held.getvalue()])
        self.theta = theta


def _read_plan(file: Path) -> np.ndarray:
    """A round's parameters, if they are those that were written."""
    data, claim = file.read_bytes(), file.with_name(f"{file.name[:5]}.claim")
    try:
        if claim.exists() and json.loads(claim.read_text())["crc"] != zlib.crc32(data):
            raise ValueError("it does not match its checksum")
        return np.load(io.BytesIO(data), allow_pickle=False)
    except UNREADABLE as cause:
        raise StoreError(f"{file}, the parameters of a round, is damaged: {cause}",
                         fix=f"delete {file.name} and the shards {file.name[:5]}-*, then run again"
                         ) from cause


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


def check_pairing(estimator: EstimatorSpec, simulator: SimulatorSpec, view: View, *,
                  observed: bool, log_likelihood: bool, trials: bool = False,
                  has: Set[str] = frozenset({"simulator", "parameters"})) -> None:
    """Refuse, before anything runs, an estimator that cannot work with this study."""
    wants = set(estimator.consumes)
    lacks = []
    if wants & {"simulations", "simulator"} and has < {"simulator", "parameters"}:
        lacks.append("a simulator and a prior")
    elif wants != {"observations"} and "parameters" not in has:
        lacks.append("a prior of the parameters")
    if "gradient" in wants and not (simulator.differentiable or log_likelihood):
        lacks.append(f"a differentiable simulator ({simulator.name!r} is not one) "
                     "or a log-likelihood of yours")
    if "log_likelihood" in wants and not log_likelihood:
        lacks.append("a log-likelihood")
    if "observations" in wants and not observed:
        lacks.append("observations")
    if estimator.needs_observed and not observed:
        lacks.append("the observation, since it learns the posterior of that one alone")
    if lacks:
        unseen = estimator.needs_observed and not observed
        raise EstimatorError(
            f"estimator {estimator.name!r} needs {'; '.join(lacks)}",
            allowed="with this study: " + ", ".join(_usable(simulator, observed, log_likelihood, has)),
            fix='observed = "data.npz" in the study file, or study.fit(observed=…)' if unseen else None)
    summarised = view.over_trials  # or an error, where features do not go together
    combines = estimator.iid or (estimator.sets and view.trials) or wants == {"observations"}
    if trials and not (combines or summarised):
        able = [s for s in plugins.registry().all("estimator")
                if s.iid or s.sets and view.trials]  # type: ignore[attr-defined]
        raise EstimatorError(
            f"estimator {estimator.name!r} does not combine several trials of one observation",
            allowed=", ".join(s.name for s in able) or "none that is installed",
            fix='features = ["trial_stats"], which summarise them' if view.trials
            else "ik.Study(trials=…)" if estimator.sets else None)
    ragged = [o.name for o in view.outputs.values() if o.shape is None]
    if view.raw and ragged and (trials or "ragged" not in estimator.accepts) and "simulations" in wants:
        raise EstimatorError(
            f"estimator {estimator.name!r} cannot take ragged outputs ({', '.join(ragged)})",
            allowed=", ".join(estimator.accepts), fix='features = ["spike_count", "isi"]')


def _usable(simulator: SimulatorSpec, observed: bool, log_likelihood: bool, has: Set[str]
            ) -> list[str]:
    names = []
    for spec in plugins.registry().all("estimator"):
        wants = set(spec.consumes)  # type: ignore[attr-defined]
        if wants & {"simulations", "simulator"} and has < {"simulator", "parameters"}:
            continue
        if wants != {"observations"} and "parameters" not in has:
            continue
        if "gradient" in wants and not (simulator.differentiable or log_likelihood):
            continue
        if "log_likelihood" in wants and not log_likelihood:
            continue
        if (spec.needs_observed or "observations" in wants) and not observed:  # type: ignore
            continue
        names.append(spec.name)
    return names or ["none that is installed"]
