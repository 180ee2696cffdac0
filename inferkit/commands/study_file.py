"""Study files: the same study as TOML.

    path = "runs/lif"
    seed = 1
    simulations = 2000
    timeout = 60
    features = ["spike_count", {name = "psd", output = "V"}]
    observed = "data.npz"              # or a table: synthetic data {theta = {…}, seed = 1}

    [simulator]                        # name = "…" and its settings, or function = "file.py:f"
    [prior]                            # "name" = {family = "…", …};  constraint = ["a < b"]
    [estimator]
    [executor]
    [plugins]
    disable = []

Unknown keys are errors.  Paths in a file are relative to it, but `path`, where the run goes, is
relative to where the command runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import plugins
from inferkit.errors import ConfigError, DataError, InferkitError
from inferkit.plugins import Component, own_simulator, schema
from inferkit.plugins.own_code import import_function
from inferkit.prior import Prior
from inferkit.store import write_atomic
from inferkit.study import Study

COPY = "study.toml"
"""The run folder's own copy of its study file."""


@dataclass(frozen=True)
class StudyFile:
    """The keys of a study file."""

    simulator: dict
    prior: dict
    path: str = "runs/study"
    seed: int = 0
    simulations: int = 1000
    timeout: float | None = None
    features: list | dict | None = None
    observed: str | dict | None = None
    estimator: str | dict = "abc-rejection"
    executor: str | dict = "local"
    plugins: dict = field(default_factory=dict)


def read(file: str | Path) -> tuple[Study, StudyFile]:
    """The study that a file describes."""
    file = Path(file)
    try:
        text = file.read_text()
    except FileNotFoundError:
        raise ConfigError(f"no file {file}", fix="inferkit init study.toml") from None
    except (IsADirectoryError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{file} is no study file: {cause}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{file} is not TOML: {cause}") from None
    told = schema.build(StudyFile, values, str(file))
    return build(told, file.parent), told


def build(told: StudyFile, folder: Path, quiet: bool = False) -> Study:
    """A study from the content of a study file that lies in `folder`."""
    disabled = told.plugins.get("disable", [])
    if unknown := told.plugins.keys() - {"disable"}:
        raise ConfigError(f"unknown key {sorted(unknown)[0]!r} in [plugins]", allowed="disable")
    if disabled:
        plugins.disable(*disabled)
    study = Study(
        read_simulator(dict(told.simulator), folder), Prior.from_config(told.prior),
        features=told.features, estimator=read_part("estimator", told.estimator),
        executor=read_part("executor", told.executor), path=told.path, seed=told.seed,
        timeout=told.timeout, quiet=quiet, folder=folder,
    )
    if told.observed is not None:
        study.observed = _observed(told.observed, folder, study)
    return study


def read_simulator(values: dict, folder: Path) -> Component:
    if "function" in values:
        source = values.pop("function")
        if not isinstance(source, str):
            raise ConfigError(f"simulator: function is {source!r}", fix='"my_model.py:simulate"')
        allowed = {"vectorised", "stochastic", "batch_invariant"}
        if unknown := values.keys() - allowed:
            raise ConfigError(f"simulator: unknown key {sorted(unknown)[0]!r} beside function",
                              allowed=", ".join(sorted(allowed)))
        return own_simulator(import_function(source, folder), source=source, **values)
    return read_part("simulator", values)


def read_part(role: str, given: str | Mapping[str, Any]) -> Component:
    if isinstance(given, str):
        return Component.choose(role, given, {})
    settings = dict(given)
    if "name" not in settings:
        raise ConfigError(f"[{role}] has no name", fix=f'name = "…"   (inferkit plugins list {role})')
    return Component.choose(role, settings.pop("name"), settings)


def _observed(given: str | dict, folder: Path, study: Study) -> Any:
    if isinstance(given, str):
        return read_data(folder / given)
    keys = {"theta", "seed"}
    if "theta" not in given or given.keys() - keys:
        raise ConfigError(f"observed is {given!r}",
                          allowed="a file (.npz, .npy, .csv), or {theta = {…}, seed = 1}")
    theta = {k: np.asarray(v, dtype=float) for k, v in _flat(given["theta"]).items()}
    study.truth = {k: v for k, v in theta.items() if k in study.prior.parameters}
    return synthetic(study, theta, int(given.get("seed", 0)))


def synthetic(study: Study, theta: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One simulation of known parameters, as if it had been observed."""
    from inferkit import seeds

    batch = {k: np.asarray(v, dtype=float)[None] for k, v in theta.items()}
    # A stream that no study draws from: the observation must not share a training row's noise.
    x = study.built.simulate(batch, seeds.row_seeds(seed, 1 << 40, np.arange(1)))
    return {k: v[0] for k, v in x.items()}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def read_data(file: Path) -> Any:
    """Observed data: .npz (arrays by name), .npy (one array), .csv (columns by name)."""
    if not file.is_file():
        raise DataError(f"no file {file}")
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as held:
                return dict(held)
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        if file.suffix == ".csv":
            held = np.genfromtxt(file, delimiter=",", names=True)
            return {n: np.asarray(held[n]) for n in held.dtype.names or ()}
    except (ValueError, OSError) as cause:
        raise DataError(f"{file} cannot be read: {cause}") from cause
    raise DataError(f"{file} is of no known type", allowed=".npz, .npy, .csv")


def to_toml(study: Study, simulations: int | None = None) -> str:
    """The study as a study file; what is Python code only is an error that says so."""
    import tomli_w

    told: dict[str, Any] = {"path": str(study.path), "seed": study.seed}
    if simulations is not None:
        told["simulations"] = simulations
    if study.timeout is not None:
        told["timeout"] = study.timeout
    if study.features is not None:
        told["features"] = study.view().to_config()
    told |= {
        "simulator": study.simulator.to_config(), "prior": study.prior.to_config(),
        "estimator": study.estimator.to_config(), "executor": study.executor.to_config(),
    }
    return tomli_w.dumps(schema.plain(told))


def keep_copy(study: Study, source: Path | None, simulations: int) -> None:
    """Leave the study file in the run folder, so that the folder alone can be resumed.

    Files it names are meant relative to the original, whose folder is noted beside it.
    """
    study.path.mkdir(parents=True, exist_ok=True)
    if source is not None:
        text = source.read_text()
        where = str(source.parent.resolve())
    else:
        try:
            text, where = to_toml(study, simulations), str(Path.cwd())
        except InferkitError:
            return
    write_atomic(study.path / COPY, [text.encode()])
    write_atomic(study.path / "study.folder", [where.encode()])


def reopen(run: str | Path) -> tuple[Study, StudyFile]:
    """The study of a run folder."""
    run = Path(run)
    if run.is_file():
        return read(run)
    if not (run / COPY).exists():
        raise ConfigError(
            f"{run} has no {COPY}, so its study is known to your script only",
            allowed="the folder of a run that `inferkit run` began",
            fix="run the script again: what is stored is not repeated")
    told = schema.build(StudyFile, tomllib.loads((run / COPY).read_text()), str(run / COPY))
    note = run / "study.folder"
    folder = Path(note.read_text()) if note.exists() else run
    study = build(told, folder)
    study.path = run
    return study, told
