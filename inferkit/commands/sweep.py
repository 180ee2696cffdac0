"""Sweeps: many independent studies (seeds, dimensions, estimators), each a job on any executor.

    from inferkit.commands import sweep

    def one(seed, estimator, path):
        study = ik.Study(…, estimator=estimator, seed=seed, path=path, executor="local")
        study.simulate(2000)
        return {"error": …}

    table = sweep.run(one, {"seed": [1, 2, 3], "estimator": ["npe", "nle"]}, path="runs/sweep",
                         executor=ik.executor("dask"))

A sweep is itself a run of simulations whose rows are studies: a point of the grid goes in, its
results come out.  So it has what those have: crash isolation, a timeout, failures as data, and a
store that knows what is finished.  A point's row is addressed by the hash of the point, so the
grid may change; every study has a folder of its own under `path`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import simulate
from inferkit.commands import study_file
from inferkit.data import Job, Ragged
from inferkit.errors import ConfigError
from inferkit.plugins import SimulatorSpec, component, own_code, schema
from inferkit.progress import Progress, Reporter, duration
from inferkit.store import STATUS, Simulations, Store
from inferkit.study import chosen

Point = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What came of each point: a dict with the point, status, message, seconds, path, results."""

    path: Path
    rows: list[dict]

    @property
    def failed(self) -> list[dict]:
        return [r for r in self.rows if r["status"] != "ok"]

    def to_table(self) -> dict[str, list]:
        """Columns by name, None where a row has no such result; `pandas.DataFrame` takes it."""
        names = dict.fromkeys(k for row in self.rows for k in row)
        return {name: [row.get(name) for row in self.rows] for name in names}

    def __str__(self) -> str:
        shown = {k: [k, *map(_short, v)] for k, v in self.to_table().items() if k != "path"}
        if not self.failed:
            shown.pop("message", None)
        widths = {k: max(map(len, v)) for k, v in shown.items()}
        lines = zip(*(([text.ljust(widths[k]) for text in v]) for k, v in shown.items()))
        return "\n".join("  ".join(line).rstrip() for line in lines)


def run(what: Callable | str | Path, grid: Mapping[str, Sequence] | Iterable[Point], *,
        path: str | Path = "runs/sweep", executor: Any = "local", timeout: float | None = None,
        again: bool = False, quiet: bool = False) -> Sweep:
    """Run every point of the grid that has not been run; the table of all.

    what: a function f(**point, path) that returns a dict of results, or a study file, whose keys
        the points replace ("seed", "estimator.name", "simulator.K").
    grid: values by name, of which all combinations are run, or the points themselves.
    timeout: seconds a study may take.  again: run those again that failed.
    """
    points = _points(grid)
    path = Path(path)
    spec = SimulatorSpec(name="sweep", summary="a study a row", vectorised=False,
                         target="inferkit.commands.sweep:Studies")
    if callable(what):
        identity = {"function": getattr(what, "__name__", "f"), "code": own_code.code_digest(what)}
        studies = Studies(points, str(path.resolve()), component.own_simulator(what).reference())
    else:
        file = Path(what)
        study_file.read(file)  # a mistake in it is one error, not one a point
        identity = {"study": file.name, "code": hashlib.sha256(file.read_bytes()).hexdigest()}
        studies = Studies(points, str(path.resolve()), file=(file.read_text(),
                                                             str(file.parent.resolve())))
    store = Store.create(path, {"sweep": identity})
    job = Job(component.Own(spec, thing=studies).reference(), 0, store.key, timeout,
              str(path.resolve()))
    reporter = Reporter(quiet)
    with store.writing():
        runs = _rounds(store, points, again)
        if runs:
            _run(store, spec, chosen("executor", executor).build(), job, runs, reporter)
    return Sweep(path, _rows(store, points))


class Studies:
    """A simulator whose rows are studies: a point's number in, its results (JSON) out."""

    parameters = outputs = None

    def __init__(self, points: dict[int, Point], root: str, function: dict | None = None,
                 file: tuple[str, str] | None = None):
        self.points, self.root, self.function, self.file = points, root, function, file

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Ragged]:
        told = [json.dumps(schema.plain(self._one(int(i)))).encode() for i in theta["point"]]
        return {"result": Ragged.from_rows([np.frombuffer(t, np.uint8) for t in told], np.uint8)}

    def _one(self, number: int) -> dict:
        point = self.points[number]
        path = Path(self.root) / folder(point)
        if self.file is not None:
            return _study(*self.file, point, path)
        assert self.function is not None
        result = component.from_reference(self.function).build().function(**point, path=path)
        if result is None:
            return {}
        return dict(result) if isinstance(result, Mapping) else {"result": result}


def folder(point: Point) -> str:
    """The name of a point's own folder."""
    name = ",".join(f"{k}={v}" for k, v in point.items())
    clean = re.sub(r"[^\w.,=+-]+", "_", name)
    return clean if clean == name and len(name) < 100 else f"{clean[:80]}-{_number(point):x}"


def _number(point: Point) -> int:
    text = json.dumps(point, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 2


def _points(grid: Any) -> dict[int, Point]:
    if isinstance(grid, Mapping):
        for key, values in grid.items():
            if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
                raise ConfigError(f"sweep: {key} is {values!r}", allowed="a list of values")
        grid = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    points = [schema.plain(p) for p in grid]
    try:
        return {_number(p): p for p in points}
    except TypeError as cause:
        raise ConfigError(f"sweep: a point holds what is no plain value: {cause}",
                          allowed="numbers, strings, lists, tables: make objects in the function",
                          ) from None


def _rounds(store: Store, points: dict[int, Point], again: bool) -> dict[int, np.ndarray]:
    """What must run, by round: new points in round 0, each further attempt in the next."""
    last = _last(store)
    due: dict[int, list[int]] = {}
    for number in points:
        if number not in last:
            due.setdefault(0, []).append(number)
        elif again and last[number][1] != "ok":
            due.setdefault(last[number][0] + 1, []).append(number)
    return {r: np.sort(np.array(numbers)) for r, numbers in due.items()}


def _last(store: Store) -> dict[int, tuple[int, str]]:
    table = Simulations(store)
    return {int(i): (int(r), STATUS[s])
            for r, i, s in zip(table.round, table.index, table.status)}  # rounds ascend


class _Driver(simulate.Driver):
    def _hopeless(self) -> None:
        """Failed studies are results too."""


def _run(store: Store, spec: Any, executor: Any, job: Job, runs: dict[int, np.ndarray],
         reporter: Reporter) -> None:
    executor.open(job)
    if note := getattr(executor, "note", ""):
        reporter.say(note)
    try:
        for round, todo in runs.items():
            progress = Progress(round, len(todo), 0)
            _Driver(store, spec, executor, lambda index: {"point": index}, round, todo, progress,
                    lambda p: reporter.event("sweep", {"done": p.done, "of": p.total,
                                                       "failed": p.failed})).run()
            reporter.say(f"sweep: {progress.done} studies in {duration(progress.seconds)}, "
                         f"{progress.failed} failed")
    finally:
        executor.close()


def _rows(store: Store, points: dict[int, Point]) -> list[dict]:
    table = Simulations(store)
    latest = {int(i): k for k, i in enumerate(table.index)}
    rows = []
    seconds, messages = table.seconds, table.messages
    for number, point in points.items():
        k = latest.get(number)
        if k is None:
            continue
        row = {**point, "status": STATUS[table.status[k]], "message": messages[k],
               "seconds": float(seconds[k]), "path": str(store.path / folder(point))}
        if row["status"] == "ok":
            text = bytes(table.select(np.array([k])).x()["result"][0])
            row |= {key: v for key, v in json.loads(text).items() if key not in row}
        rows.append(row)
    return rows


def _study(text: str, beside: str, point: Point, path: Path) -> dict:
    """One point of a study file: simulate, fit, check."""
    values: dict = tomllib.loads(text)
    values.setdefault("executor", {"name": "local", "workers": 1})
    for key, value in point.items():
        *tables, last = key.split(".")
        at = values
        for name in tables:
            if not isinstance(at.setdefault(name, {}), dict):
                at[name] = {"name": at[name]}  # estimator = "npe" in the file
            at = at[name]
        at[last] = value
    told = schema.build(study_file.StudyFile, {**values, "path": str(path)}, "the sweep's study")
    study = study_file.build(told, Path(beside), quiet=True)
    study_file.keep_copy(study, None, told.simulations)
    progress = study.simulate(told.simulations)
    posterior = study.fit()
    results: dict[str, Any] = {
        "simulations": progress.before + progress.done, "failures": progress.failed,
        **{f"fit.{k}": v for k, v in posterior.info.items() if isinstance(v, (int, float, str))}}
    for verdict in study.check():
        results[f"check.{verdict.name}"] = verdict.status
    return results


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text if len(text) < 50 else text[:47] + "…"
