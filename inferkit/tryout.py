"""`inferkit check`, `study.try_out()`: a few simulations before many, to learn what the many will cost,
whether the simulator keeps its promises, and whether what was observed fits.

It runs twenty rows in a temporary store through the study's executor and looks at time, failures
and size; then it runs one parameter set under two seeds (a stochastic simulator that answers the
same twice ignores its seed: every training row would share one noise) and one seed twice, and the
same rows in two different batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import estimate, features, provenance, seeds, simulate
from inferkit.data import Dataset, Job, Trials
from inferkit.diagnose import Status, Verdict
from inferkit.errors import InferkitError, SimulatorError
from inferkit.plugins.component import Own
from inferkit.plugins.function import FunctionSimulator
from inferkit.plugins.soundness import ROUNDING, difference, same
from inferkit.progress import Progress, duration, size
from inferkit.simulate.local import core_count
from inferkit.store import Simulations, Store, temporary_folder
from inferkit.store.files import free_bytes

ROWS = 20


@dataclass
class Trial:
    """What twenty simulations taught."""

    verdicts: list[Verdict] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        found = {v.status for v in self.verdicts}
        return "FAIL" if "FAIL" in found else "WARN" if "WARN" in found else "PASS"

    def add(self, name: str, status: Status, evidence: str, remedy: str = "") -> None:
        self.verdicts.append(Verdict(name, status, evidence, remedy))

    def __str__(self) -> str:
        return "\n".join([*self.lines, *map(str, self.verdicts)])

    __repr__ = __str__

    def __getitem__(self, name: str) -> Verdict:
        return {v.name: v for v in self.verdicts}[name]


def run(study: Any, wanted: int) -> Trial:
    """Try the study; `wanted` is how many simulations the estimate of time and disk is for."""
    trial = Trial()
    if "simulator" not in study.has:
        _observations(trial, study)
        return trial
    study.check_names()
    with temporary_folder("inferkit-check-") as folder:
        store = Store.create(folder, study.identity)
        try:
            table, progress = _rows(study, store)
        except SimulatorError as cause:  # all of them failed
            trial.add("failures", "FAIL", cause.what, _takes_a_batch(study) or "mend the simulator")
            return trial
        _cost(trial, study, table, progress, store, wanted)
        _failures(trial, table)
        _promises(trial, study, store)
        _outputs(trial, study, table.ok)
    return trial


def _observations(trial: Trial, study: Any) -> None:
    """What there is to try where an estimator learns from observations alone."""
    try:
        data = Dataset.of(study.observed if study.observed is not None else {})
    except InferkitError as cause:
        trial.add("observed", "FAIL", cause.what, cause.fix or cause.allowed or "")
        return
    trial.add("observed", "PASS", repr(data))


def _rows(study: Any, store: Store) -> tuple[Simulations, Progress]:
    spec: Any = study.simulator.spec
    job = Job(study.simulator.reference(), study.seed, store.key, study.timeout, str(store.path))
    executor = study.executor.build() if not study.executor.spec.detached else None  # type: ignore
    if executor is None:  # a queue at a site is no place for a trial
        from inferkit.simulate.local import LocalExecutor

        executor = LocalExecutor()
    executor.open(job)
    try:
        progress = simulate.run(store, spec, executor,
                                simulate.PriorDraws(study.prior, study.seed), 0, ROWS)
    finally:
        executor.close()
    return Simulations(store, 0), progress


def _takes_a_batch(study: Any) -> str:
    """What to say of the user's own function that fails row by row and works on several at once."""
    single = getattr(study.built, "single", study.built)
    if not isinstance(single, FunctionSimulator) or single.vectorised:
        return ""
    draws = simulate.PriorDraws(study.prior, study.seed)(np.arange(3))
    try:
        result = single.function(draws, seeds.row_seeds(study.seed, 0, np.arange(3)))
        sizes = {len(v) for v in (result.values() if isinstance(result, dict) else [result])}
    except Exception:
        return ""
    return ("it takes a batch: ik.simulator(f, vectorised=True), vectorised = true in a study file"
            if sizes == {3} else "")


def _cost(trial: Trial, study: Any, table: Simulations, progress: Progress,
          store: Store, wanted: int) -> None:
    took = table.seconds
    each = float(np.mean(took))
    nbytes = sum(s.nbytes for s in store.shards()) / len(table)
    workers = getattr(study.executor.config, "workers", 1)
    workers = core_count() if workers == "auto" else max(1, workers if workers else 1)
    trial.lines += [
        f"{len(table)} simulations in {duration(progress.seconds)}: {duration(each)} each "
        f"(slowest {duration(float(took.max()))}), {size(nbytes)} each on disk",
        f"{wanted:,} of them: about {duration(each * wanted / workers)} on {workers} "
        f"worker{'s' if workers > 1 else ''}, {size(nbytes * wanted)} on disk "
        f"({size(free_bytes(study.path if study.path.exists() else Path.cwd()))} free), "
        f"{provenance.memory_gb() or '?'} GB memory in the machine",
    ]
    free = free_bytes(study.path if study.path.exists() else Path.cwd())
    if nbytes * wanted > 0.9 * free:
        trial.add("disk", "FAIL", f"{size(nbytes * wanted)} are needed, {size(free)} are free",
                  "store fewer outputs, or put path on another disk")


def _failures(trial: Trial, table: Simulations) -> None:
    failed = int((table.status != 0).sum())
    if not failed:
        trial.add("failures", "PASS", f"none of {len(table)} failed")
        return
    told = sorted({m for m in table.messages if m})
    status: Status = "FAIL" if failed > len(table) / 2 else "WARN"
    trial.add("failures", status, f"{failed} of {len(table)} failed: " + "; ".join(told[:3]),
              "narrow the prior where the model breaks, or mend the simulator; failures are "
              "stored as data")


def _promises(trial: Trial, study: Any, store: Store) -> None:
    spec: Any = study.simulator.spec
    good = Simulations(store, 0).ok
    if not len(good):
        trial.add("seeds", "NOT RUN", "no simulation succeeded")
        return
    theta = {k: v[:1] for k, v in good.theta.items()}
    index = good.index[:1]
    simulate_ = study.built.simulate
    if hasattr(study.built, "prepare"):
        study.built.prepare()
    pad = spec.batch_size or 1

    def call(th: dict, sd: np.ndarray) -> dict:
        n = len(sd)
        reps = max(pad - n, 0)
        th = {k: np.concatenate([v, np.repeat(v[-1:], reps, 0)]) for k, v in th.items()}
        out = simulate_(th, np.concatenate([sd, np.repeat(sd[-1:], reps)]))
        return {k: v[:n] for k, v in out.items()}

    # An instance may know better than its record (a LIF without noise is deterministic).
    stochastic = getattr(study.built, "stochastic", spec.stochastic)
    own = seeds.row_seeds(study.seed, 0, index)
    other = seeds.row_seeds(study.seed, 1 << 41, index)
    first, again, different = call(theta, own), call(theta, own), call(theta, other)
    if not same(first, again):
        trial.add("seeds", "FAIL", "one parameter set and one seed gave two answers",
                  "draw all randomness from the given seed (or rng), none from global state")
    elif stochastic and same(first, different):
        trial.add("seeds", "FAIL", "two seeds gave the same answer: the noise ignores its seed, so "
                  "all training simulations would share it",
                  "draw the noise from the given seed (or rng); for a deterministic simulator say "
                  "stochastic=False")
    elif not stochastic and not same(first, different):
        trial.add("seeds", "FAIL", "declared deterministic, yet two seeds differ",
                  "say stochastic=True")
    else:
        trial.add("seeds", "PASS", "the same seed repeats a simulation, another one "
                  + ("changes it" if stochastic else "changes nothing, as declared"))
    if spec.vectorised and len(good) > 1 and (spec.batch_invariant or isinstance(study.simulator, Own)):
        table = good.select(slice(0, 5))
        sd = seeds.row_seeds(study.seed, 0, table.index)
        alone = call({k: v[-1:] for k, v in table.theta.items()}, sd[-1:])
        batch = {k: v[len(sd) - 1 :] for k, v in call(table.theta, sd).items()}
        trial.add("batches", *_batches(alone, batch, spec.batch_invariant))


def _batches(alone: dict, batch: dict, promised: bool) -> tuple[Status, str, str]:
    """What is to be said of a row simulated alone and as the last of a batch, with one seed."""
    if same(alone, batch):
        return "PASS", "a row has the same bytes alone and in a batch", ""
    apart = difference(alone, batch)
    if apart > ROUNDING:
        return ("FAIL", "a row's result depends on the rows beside it",
                "draw each row's noise from its own seed (inferkit.seeds.normals(seeds, shape)), not "
                "from one generator a batch; take no mean or maximum over the batch")
    if promised:
        return ("FAIL", "a row differs alone and in a batch, though the simulator declares otherwise",
                "say batch_invariant=False, or make rows independent")
    return ("WARN", f"a row is the same alone and in a batch to rounding ({apart:.0e}), not to the "
            "byte: runs with other chunks agree to that",
            "batch_size = … has every batch padded to one size")


def _outputs(trial: Trial, study: Any, good: Simulations) -> None:
    """What 20 rows show of parameters, outputs, features and the observation."""
    if not len(good):
        return
    if unread := _unread(study, good):
        trial.add("parameters", "WARN", f"the simulator did not read {', '.join(unread)}",
                  "a name that is spelt otherwise there? If it has no part in the model, leave it out "
                  "of the prior")
    view = features.View(features.choose(study.features, study._folder),
                         features.outputs_of(study.built, good, study.trials), study.trials)
    try:
        columns = features.columns(view, view.of(good))
    except Exception as cause:  # a feature of the user's own raises what it likes
        told = str(cause) if isinstance(cause, InferkitError) else f"{type(cause).__name__}: {cause}"
        trial.add("features", "FAIL", told, "mend it: simulations need none, every fit does")
        return
    try:
        estimate.check_pairing(
            study.estimator.spec, study.simulator.spec, view, observed=True, has=study.has,
            log_likelihood=study.log_likelihood is not None,
            trials=study.trials is not None or isinstance(study.observed, Trials))
    except InferkitError as cause:
        trial.add("estimator", "FAIL", cause.what, "\n         ".join(filter(None, (
            cause.allowed and f"allowed: {cause.allowed}", cause.fix))))
    still = [name for name, values in columns.items() if len(good) > 2 and _constant(values)]
    if still:
        trial.add("outputs", "WARN", f"{', '.join(still)} the same in all of {len(good)} simulations",
                  "what never changes says nothing of the parameters: another output or feature, or a "
                  "wider prior")
    if study.observed is None or study.holds_its_model(study.estimator):
        return
    try:
        features.observe(study.observed, view)
        trial.add("observed", "PASS", "the observed data fit what the simulator gives")
    except InferkitError as cause:
        trial.add("observed", "FAIL", cause.what, "\n         ".join(filter(None, (
            cause.allowed and f"allowed: {cause.allowed}", cause.fix))))


def _constant(values: np.ndarray) -> bool:
    flat = values.reshape(len(values), -1).astype(float)
    return bool(((flat == flat[:1]) | (np.isnan(flat) & np.isnan(flat[:1]))).all())


class _Read(dict):
    """Parameters that note which of them are read."""

    def __init__(self, values: dict, read: set):
        super().__init__(values)
        self.read = read

    def __getitem__(self, key: Any) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def items(self) -> Any:
        self.read.update(self.keys())
        return super().items()

    def values(self) -> Any:
        self.read.update(self.keys())
        return super().values()

    def __iter__(self) -> Any:  # `dict(theta)` and `f(**theta)` read item by item where there is one
        return super().__iter__()


def _unread(study: Any, good: Simulations) -> list[str]:
    """Parameters that the user's own function does not read in one simulation."""
    single = getattr(study.built, "single", study.built)
    if not isinstance(single, FunctionSimulator):
        return []
    read: set[str] = set()
    watched = FunctionSimulator(lambda theta, noise: single.function(_Read(theta, read), noise),
                                single.vectorised)
    one = good.select(slice(0, 1))
    watched.simulate(one.theta, seeds.row_seeds(study.seed, 0, one.index))
    return [name for name in study.prior.parameters if name not in read]
