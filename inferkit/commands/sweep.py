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
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.commands import study_file
from inferkit.errors import ConfigError
from inferkit.plugins import chosen, code_text, schema
from inferkit.progress import Reporter
from inferkit.simulate import points
from inferkit.simulate.points import Point, folder

__all__ = ["Sweep", "folder", "run"]


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
    path, wanted = Path(path), points.numbered(_combined(grid), "sweep")
    if callable(what):
        identity = {"function": getattr(what, "__name__", "f"), "code": code_text.code_digest(what)}
        call: Callable = what
    else:
        file = Path(what)
        study_file.read(file)  # a mistake in it is one error, not one a point
        identity = {"study": file.name, "code": hashlib.sha256(file.read_bytes()).hexdigest()}
        call = StudyAt(file.read_text(), str(file.parent.resolve()))
    rows = points.run(call, wanted, path=path, executor=chosen("executor", executor),
                      identity={"sweep": identity}, timeout=timeout, again=again,
                      reporter=Reporter(quiet), noun="sweep")
    return Sweep(path, rows)


def _combined(grid: Any) -> Iterable[Point]:
    if not isinstance(grid, Mapping):
        return grid
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
            raise ConfigError(f"sweep: {key} is {values!r}", allowed="a list of values")
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


@dataclass(frozen=True)
class StudyAt:
    """A study file as a function of what a point replaces in it: simulate, fit, check."""

    text: str
    beside: str  # the folder that the file's own paths are relative to

    def __call__(self, path: Path, **point: Any) -> dict:
        values: dict = tomllib.loads(self.text)
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
        study = study_file.build(told, Path(self.beside), quiet=True)
        study_file.keep_copy(study, None, told.simulations)
        results: dict[str, Any] = {}
        if "simulator" in study.has:
            progress = study.simulate(told.simulations)
            results = {"simulations": progress.before + progress.done, "failures": progress.failed}
        for k, v in study.fit().info.items():
            if isinstance(v, (int, float, str)):
                results[f"fit.{k}"] = v
        for verdict in study.check():
            results[f"check.{verdict.name}"] = verdict.status
        return results


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text if len(text) < 50 else text[:47] + "…"
