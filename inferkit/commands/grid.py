"""Parameter sweeps: outcomes over a grid of a simulator's parameters, as a table and a picture.

    found = ik.explore(ik.simulator("vbjax", …), {"coupling.k": np.geomspace(1e-4, 0.1, 32),
                                                  "model.eta": np.linspace(-6, -4, 32)},
                       path="runs/sweep")
    found.values("std")               # (32, 32), the mean over repeats
    found.picture()                   # runs/sweep/sweep.png

The grid's points are rows of a store like any other simulations: on any executor, resumed where they
stopped, failures counted.  Row i is point i // repeats, the last axis fastest; its seed is row i's.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import features as feature_stage
from inferkit import simulate
from inferkit.data import Job
from inferkit.errors import ConfigError, names_keywords
from inferkit.plugins import Component, chosen, own_simulator, schema
from inferkit.progress import Reporter
from inferkit.simulate import check_names
from inferkit.store import Simulations, Store, if_possible, writing_to

PICTURE, TABLE = "sweep.png", "sweep.csv"


@dataclass(frozen=True)
class Axis:
    """An axis of a sweep file: values, or `steps` from low to high, evenly or (log) in ratio."""

    values: list | None = None
    low: float | None = None
    high: float | None = None
    steps: int = 10
    log: bool = False

    def points(self, name: str) -> list:
        if self.values is not None:
            return self.values
        if self.low is None or self.high is None:
            raise ConfigError(f"grid: {name} has neither values nor low and high",
                              fix=f'"{name}" = {{low = 0.1, high = 1.0, steps = 10}}')
        if self.steps < 1 or (self.log and not 0 < self.low < self.high):
            raise ConfigError(f"grid: {name} from {self.low} to {self.high} in {self.steps} steps",
                              allowed="1 step or more; with log, 0 < low < high")
        return list((np.geomspace if self.log else np.linspace)(self.low, self.high, self.steps))


@dataclass(frozen=True)
class SweepFile:
    """The keys of a sweep file."""

    simulator: dict
    grid: dict
    path: str = "runs/sweep"
    seed: int = 0
    repeats: int = 1
    fixed: dict = field(default_factory=dict)
    features: list | dict | None = None
    executor: str | dict = "local"
    timeout: float | None = None


@dataclass(frozen=True)
class Explored:
    """A sweep's outcomes: `columns` of every row (grid points, repeats), NaN where it failed."""

    path: Path
    axes: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    failed: int

    def values(self, outcome: str | None = None) -> np.ndarray:
        """One outcome over the grid, the mean over the repeats that succeeded."""
        column = self.columns[self._name(outcome)]
        counts = np.isfinite(column).sum(1)
        mean = np.where(counts > 0, np.nansum(column, 1) / np.maximum(counts, 1), np.nan)
        return mean.reshape([len(v) for v in self.axes.values()])

    def _name(self, outcome: str | None) -> str:
        name = outcome or next(iter(self.columns))
        if name not in self.columns:
            raise ConfigError(f"no outcome {name!r}", allowed=", ".join(self.columns))
        return name

    def to_table(self) -> dict[str, np.ndarray]:
        """A row a point: the axes' values, then the outcomes' means."""
        mesh = np.meshgrid(*self.axes.values(), indexing="ij")
        return {**{k: m.ravel() for k, m in zip(self.axes, mesh)},
                **{k: self.values(k).ravel() for k in self.columns}}

    def save(self) -> Path:
        table = self.to_table()
        file = self.path / TABLE
        with writing_to(file), file.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(table)
            rows.writerows(zip(*(column.tolist() for column in table.values())))
        return file

    def picture(self, outcome: str | None = None, file: str | Path | None = None) -> Path:
        """One axis: a curve; two: a map; a third axis: a map for each of its values."""
        from inferkit.report import style

        name, values = self._name(outcome), self.values(outcome)
        if values.ndim > 3:
            raise ConfigError(f"a picture of {values.ndim} axes", allowed="1, 2 or 3",
                              fix="found.values(…) has the numbers")
        names = list(self.axes)
        if values.ndim == 1:
            with style.drawing():
                fig, axes = style.grid(1, 1, 5.0, 3.2)
                ax, x = axes[0, 0], self.axes[names[0]]
                ax.plot(x, values, marker="o", markersize=3)
                _mark(ax, "x", x)
                ax.set_xlabel(names[0])
                ax.set_ylabel(name)
        else:
            with style.drawing():
                fig = self._maps(style, name, names, values if values.ndim == 3 else values[..., None])
        file = Path(file) if file else self.path / PICTURE
        with writing_to(file):
            fig.savefig(file, dpi=150, bbox_inches="tight")
        return file

    def _maps(self, style: Any, name: str, names: Sequence[str], values: np.ndarray) -> Any:
        panels = values.shape[2]
        fig, axes = style.grid(1, panels, 2.9 * panels + 1.2, 3.2)
        low, high = np.nanmin(values), np.nanmax(values)
        y, x = (self.axes[n] for n in names[:2])
        for i, ax in enumerate(axes.ravel()):
            drawn = ax.pcolormesh(x, y, values[..., i], vmin=low, vmax=high, shading="nearest",
                                  cmap="viridis", rasterized=True)
            _mark(ax, "x", x)
            _mark(ax, "y", y)
            ax.set_xlabel(names[1])
            ax.grid(False)
            if i == 0:
                ax.set_ylabel(names[0])
            if len(names) == 3:
                ax.set_title(f"{names[2]} = {self.axes[names[2]][i]:g}")
        fig.colorbar(drawn, ax=list(axes.ravel()), label=name)
        return fig


TICKS = 7
"""An axis is marked at so many of the grid's values at most."""


def _mark(ax: Any, which: str, values: np.ndarray) -> None:
    """Scale an axis as its values go, with ticks at values that were simulated."""
    getattr(ax, f"set_{which}scale")("log" if geometric(values) else "linear")
    shown = values[:: -(-len(values) // TICKS)]
    axis = getattr(ax, f"{which}axis")
    axis.set_ticks([], minor=True)
    axis.set_ticks(shown, [f"{v:.3g}" for v in shown])


def geometric(x: np.ndarray) -> bool:
    """Whether an axis goes up in ratios."""
    return len(x) > 2 and bool((x > 0).all()) and np.ptp(np.diff(np.log(x))) < 1e-6 < np.ptp(np.diff(x))


@names_keywords
def explore(simulator: Any, grid: Mapping[str, Any], *, fixed: Mapping[str, Any] | None = None,
            features: Any = None, repeats: int = 1, executor: Any = "local",
            path: str | Path = "runs/sweep", seed: int = 0, timeout: float | None = None,
            accept_code: bool = False, quiet: bool = False, folder: Path = Path()) -> Explored:
    """Simulate every point of a grid, `repeats` times; only what is missing runs.

    grid: parameter -> its values.  fixed: other parameters' values.  features: what to take from the
    outputs, as in a study; left out, every output, averaged where it has more than one number.
    accept_code: as in a study.
    """
    part = simulator if isinstance(simulator, Component) else (
        chosen("simulator", simulator) if isinstance(simulator, str) else own_simulator(simulator))
    axes = {k: np.atleast_1d(np.asarray(v, float)) for k, v in grid.items()}
    if not axes or any(v.ndim != 1 or not len(v) for v in axes.values()):
        raise ConfigError("the grid has no points", fix='{"coupling.k": [0.1, 0.2, 0.3]}')
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}", allowed="1 or more")
    held = {k: np.asarray(v, float) for k, v in (fixed or {}).items()}
    if both := axes.keys() & held.keys():
        raise ConfigError(f"{sorted(both)[0]} is both in the grid and fixed")
    built = part.build()
    check_names(part.name, built, {k: () for k in axes} | {k: v.shape for k, v in held.items()})
    mesh = [m.ravel() for m in np.meshgrid(*axes.values(), indexing="ij")]

    def draw(index: np.ndarray) -> dict[str, np.ndarray]:
        at = index // repeats
        return {**{k: m[at] for k, m in zip(axes, mesh)},
                **{k: np.repeat(v[None], len(index), 0) for k, v in held.items()}}

    told = {"axes": {k: v.tolist() for k, v in axes.items()}, "repeats": repeats,
            "fixed": {k: v.tolist() for k, v in held.items()}}
    store = Store.create(Path(path), {"simulator": part.identity(), "sweep": told, "seed": seed},
                         code=part.code, accept_code=accept_code)
    n = len(mesh[0]) * repeats
    runner: Any = chosen("executor", executor).build()
    with store.writing(needed=False):
        if store.held:
            store.upkeep(2e9, Reporter(quiet).say)
        spec: Any = part.spec
        runner.open(Job(part.reference(), seed, store.key, timeout, str(Path(path).resolve())))
        try:
            simulate.run(store, spec, runner, draw, 0, n, Reporter(quiet))
        finally:
            runner.close()
    return _outcomes(Path(path), Simulations(store, 0), built, features, axes, repeats, folder)


def _outcomes(path: Path, rows: Simulations, built: Any, chosen_features: Any,
              axes: dict[str, np.ndarray], repeats: int, folder: Path) -> Explored:
    view = feature_stage.View(feature_stage.choose(chosen_features, folder),
                              feature_stage.outputs_of(built, rows))
    n = int(np.prod([len(v) for v in axes.values()])) * repeats
    columns: dict[str, np.ndarray] = {}
    for batch in rows.ok.batches():
        inputs = view(batch.x)
        found: dict[str, np.ndarray] = {}
        for name, value in inputs.items():
            if name == feature_stage.FEATURES:
                found |= dict(zip(view.names, np.asarray(value).T))
            else:
                found[name] = np.asarray(value, float).reshape(len(batch.index), -1).mean(1)
        for name, value in found.items():
            columns.setdefault(name, np.full(n, np.nan))[batch.index] = value
    if not columns:
        raise ConfigError("every simulation failed", fix="inferkit replay, or a wider look at: "
                          + "; ".join(dict.fromkeys(filter(None, rows.messages)))[:300])
    shaped = {k: v.reshape(-1, repeats) for k, v in columns.items()}
    return Explored(path, axes, shaped, n - len(rows.ok))


def from_file(file: str | Path, accept_code: bool = False) -> Explored:
    """The sweep that a file describes, with its table and picture saved."""
    from inferkit.commands.study_file import read_part, read_simulator

    file = Path(file)
    try:
        told = schema.build(SweepFile, tomllib.loads(file.read_text()), str(file))
    except FileNotFoundError:
        raise ConfigError(f"no file {file}") from None
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{file} is not TOML: {cause}") from None
    grid = {}
    for name, given in told.grid.items():
        axis = given if isinstance(given, dict) else {"values": given}
        grid[name] = schema.build(Axis, axis, f"grid: {name}").points(name)
    found = explore(read_simulator(dict(told.simulator), file.parent), grid, fixed=told.fixed,
                    features=told.features, repeats=told.repeats,
                    executor=read_part("executor", told.executor), path=told.path, seed=told.seed,
                    timeout=told.timeout, accept_code=accept_code, folder=file.parent)
    with if_possible("the table is", Reporter().say):
        found.save()
    return found
