"""Study files: the same study as TOML.

    path = "runs/lif"
    seed = 1
    simulations = 2000
    timeout = 60
    trials = 60                        # of one observation; or from 5 to 100, [5, 100]
    features = ["spike_count", {name = "psd", output = "V"}]
    observed = "data.npz"              # or a table: synthetic data {theta = {…}, seed = 1},
                                       # of another simulator with {simulator = {name = …}, …}
    truth = {tau = 20.0}               # the parameters behind data that are known to be synthetic

    [simulator]                        # name = "…" and its settings, or function = "file.py:f"
    [prior]                            # "name" = {family = "…", …};  constraint = ["a < b"]
    [estimator]
    [executor]
    [plugins]
    disable = []

An estimator that holds its own model needs neither [simulator] nor [prior].  Unknown keys are
errors.  Paths in a file are relative to it, but `path`, where the run goes, is
relative to where the command runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import plugins, seeds
from inferkit.data import Trials
from inferkit.errors import ConfigError, DataError, StoreError
from inferkit.plugins import Component, by_value, own_simulator, schema
from inferkit.plugins.component import Own
from inferkit.plugins.own_code import import_function
from inferkit.prior import Prior
from inferkit.store import make_folder, write_atomic
from inferkit.study import Study
from inferkit.written import COPY, to_toml


@dataclass(frozen=True)
class StudyFile:
    """The keys of a study file."""

    simulator: dict | None = None
    prior: dict | None = None
    path: str = "runs/study"
    seed: int = 0
    simulations: int = 1000
    timeout: float | None = None
    trials: int | list[int] | None = None
    features: list | dict | None = None
    observed: str | dict | None = None
    estimator: str | dict = "abc-rejection"
    executor: str | dict = "local"
    plugins: dict = field(default_factory=dict)
    truth: dict | None = None
    missing: dict = field(default_factory=dict)


def read(file: str | Path) -> tuple[Study, StudyFile]:
    """The study that a file describes."""
    file = Path(file)
    told = schema.build(StudyFile, _parsed(file), str(file))
    return build(told, file.parent), told


def _parsed(file: Path) -> dict:
    if file.is_dir():
        raise ConfigError(f"{file} is a folder, no study file", fix=(
            f"inferkit resume {file}" if (file / COPY).exists() else "inferkit init study.toml"))
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"no file {file}", fix="inferkit init study.toml") from None
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{file} is no study file: {cause}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise ConfigError(f"{file} is not TOML: {cause}") from None


def build(told: StudyFile, folder: Path, quiet: bool = False) -> Study:
    """A study from the content of a study file that lies in `folder`."""
    disabled = told.plugins.get("disable", [])
    if unknown := told.plugins.keys() - {"disable"}:
        raise ConfigError(f"unknown key {sorted(unknown)[0]!r} in [plugins]", allowed="disable")
    if disabled:
        plugins.disable(*disabled)
    study = Study(
        None if told.simulator is None else read_simulator(dict(told.simulator), folder),
        None if told.prior is None else Prior.from_config(told.prior),
        features=told.features, estimator=read_part("estimator", told.estimator),
        executor=read_part("executor", told.executor), path=told.path, seed=told.seed,
        timeout=told.timeout, trials=told.trials, quiet=quiet, folder=folder,
    )
    if told.observed is not None:
        study.observed = _observed(told.observed, folder, study)
    if told.truth is not None:
        study.truth = {k: np.asarray(v, float) for k, v in _flat(told.truth).items()}
    study.from_file = True
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
        if source.endswith(by_value.ENDING):
            return Own.unpacked(folder / source, source)
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
    if "file" in given:
        settings = dict(given)
        trials = settings.pop("trials", False)
        data = read_data(folder / settings.pop("file"), settings.pop("reader", None), settings)
        return Trials(data) if trials else data
    if given.keys() - {"theta", "seed", "simulator", "trials"} or not given.keys() & {
            "theta", "simulator"}:
        raise ConfigError(f"observed is {given!r}", allowed=(
            'a file ("data.npz"), a file with its reader\'s settings {file = "…", reader = "…"}, or '
            "synthetic data {theta = {…}, seed = 1, simulator = {name = …}, trials = 1}"))
    theta = {k: np.asarray(v, dtype=float) for k, v in _flat(given.get("theta", {})).items()}
    study.truth = {k: v for k, v in theta.items() if k in study.prior.parameters} or None
    other = given.get("simulator")
    trials = given.get("trials", study.trials and study.trials[1])
    model = (read_simulator(dict(other), folder).build() if other is not None
             else study.built if study.trials is None else study.built.single)
    return synthetic(model, theta, int(given.get("seed", 0)), trials)


def synthetic(model: Any, theta: Mapping[str, Any], seed: int, trials: int | None = None
              ) -> Any:
    """One simulation of known parameters (or several trials of them), as if it had been observed."""
    n = trials or 1
    batch = {k: np.repeat(np.asarray(v, dtype=float)[None], n, axis=0) for k, v in theta.items()}
    # A stream that no study draws from: the observation must not share a training row's noise.
    x = model.simulate(batch, seeds.row_seeds(seed, 1 << 40, np.arange(n)))
    return {k: v[0] for k, v in x.items()} if trials is None else Trials(x)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def read_data(file: Path, reader: str | None = None, settings: Mapping[str, Any] | None = None
              ) -> Any:
    """Observed data, by the reader of that name, or else by the file's ending."""
    if not file.exists():
        raise DataError(f"no file {file}")
    specs: list[Any] = plugins.registry().all("reader")
    if reader is None:
        ending = "/" if file.is_dir() else file.suffix.lower()
        reader = next((s.name for s in specs if ending in s.suffixes), None)
        if reader is None:
            known = sorted({e for s in specs for e in s.suffixes})
            raise DataError(f"{file} is of no known type", allowed=", ".join(known),
                            fix='observed = {file = "…", reader = "…"}  (inferkit plugins list reader)')
    chosen = Component.choose("reader", reader, settings or {})
    read = plugins.load(chosen.spec)
    try:
        return read(file) if chosen.config is None else read(file, chosen.config)
    except (ValueError, OSError, EOFError) as cause:
        raise DataError(f"{file} cannot be read: {cause}") from cause


def keep_copy(study: Study, source: Path | None, simulations: int) -> None:
    """Leave the study file in the run folder, so that the folder alone can be resumed.

    Files it names are meant relative to the original, whose folder is noted beside it.
    """
    make_folder(study.path)
    if source is None:
        text = to_toml(study, simulations, study.observed, study.path)
        write_atomic(study.path / COPY, [text.encode()])
        return
    write_atomic(study.path / COPY, [source.read_text().encode()])
    write_atomic(study.path / "study.folder", [str(source.parent.resolve()).encode()])


def reopen(run: str | Path, trust: bool = True) -> tuple[Study, StudyFile]:
    """The study of a run folder; own functions that it names are imported, where it is trusted."""
    run = Path(run)
    if run.is_file():
        return read(run)
    told = look(run)
    if not trust and (named := sorted(_own_code(vars(told)))):
        raise StoreError(f"the study of {run} names code of your own ({', '.join(named)}), and opening "
                         "runs none unless asked", fix=f"ik.open({str(run)!r}, trust=True)")
    for name in ("simulator", "prior", "features"):
        if name in told.missing:
            raise ConfigError(f"{run} does not hold its study's {name}: {told.missing[name]}",
                              allowed="inferkit status, and the script that began it",
                              fix="run the script again: what is stored is not repeated")
    note = run / "study.folder"
    folder = Path(note.read_text()) if note.exists() else run
    study = build(told, folder)
    study.path = run
    for name, why in told.missing.items():
        study.reporter.say(f"{run}: without its {name}, which no file holds ({why})")
    return study, told


def open_run(path: str | Path, *, trust: bool = False) -> Study:
    """The study of a run's folder again: `ik.open`."""
    return reopen(path, trust)[0]


def _own_code(table: Any) -> Iterator[str]:
    """What a study file names that is code of somebody's own."""
    if isinstance(table, Mapping):
        if isinstance(table.get("function"), str):
            yield table["function"]
        table = list(table.values())
    if isinstance(table, (list, tuple)):
        for value in table:
            yield from _own_code(value)
    elif isinstance(table, str) and ".py:" in table:
        yield table


def look(run: Path) -> StudyFile:
    """What a run folder's study file says; nothing that it names is imported or run."""
    if not (run / COPY).exists():
        raise ConfigError(f"{run} has no {COPY}", allowed="the folder of a run",
                          fix="inferkit run FILE, or run the script that made the folder again")
    return schema.build(StudyFile, _parsed(run / COPY), str(run / COPY))
