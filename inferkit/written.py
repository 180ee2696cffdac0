"""A study as a study file in its run's folder, whatever began it: a script's runs open like others.

Own functions are named by file and name where they can be imported, and lie in `code/` by value where
they cannot (a script, a notebook).  Observed data lie beside the file.  What cannot be written down is
told in `[missing]`, and the run does without.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Dataset, Ragged, Trials
from inferkit.errors import DataError, InferkitError
from inferkit.features import View
from inferkit.features.chosen import choose
from inferkit.plugins import by_value, schema
from inferkit.plugins.code_text import digest_of
from inferkit.plugins.component import Own, Repeated
from inferkit.store import write_atomic

COPY = "study.toml"
"""The run folder's own copy of its study file."""
MARK = "# Written by inferkit, from a study in Python.\n"


def keep(study: Any, simulations: int | None, observed: Any = None) -> None:
    """Write the study into its run's folder, unless a study file of the user's own is there."""
    file = study.path / COPY
    if file.exists() and not file.read_text(errors="replace").startswith(MARK):
        return
    write_atomic(file, [MARK.encode(), to_toml(study, simulations, observed, study.path).encode()])


def to_toml(study: Any, simulations: int | None = None, observed: Any = None,
            into: Path | None = None) -> str:
    """The study as a study file.

    into: the folder that takes what a text cannot hold; without it, that is an error that says so.
    """
    import tomli_w

    told: dict[str, Any] = {"path": str(study.path), "seed": study.seed}
    missing: dict[str, str] = {}

    def part(name: str, make: Callable[[], Any]) -> None:
        try:
            value = schema.plain(make())
            tomli_w.dumps({name: value})
            told[name] = value
        except Exception as cause:  # whatever a user's object raises, and what TOML has no word for
            if into is None:
                raise
            why = cause.what if isinstance(cause, InferkitError) else f"{type(cause).__name__}: {cause}"
            missing[name] = why.splitlines()[0]

    if simulations is not None:
        told["simulations"] = simulations
    if study.timeout is not None:
        told["timeout"] = study.timeout
    if study.trials is not None:
        low, high = study.trials
        told["trials"] = low if low == high else [low, high]
    if observed is not None and into is not None:
        part("observed", lambda: _observed(
            Dataset.of(observed) if study.holds_its_model(study.estimator) else observed, into))
    if study.truth:
        told["truth"] = {k: np.asarray(v, float).tolist() for k, v in study.truth.items()}
    if study.features is not None:
        part("features", lambda: _features(study, into))
    if "simulator" in study.has:
        part("simulator", lambda: _simulator(study, into))
    if "parameters" in study.has:
        part("prior", study.prior.to_config)
    if study.log_likelihood is not None and into is not None:
        missing["log_likelihood"] = "a function in Python"
    part("estimator", study.estimator.to_config)
    part("executor", study.executor.to_config)
    if missing:
        told["missing"] = missing
    return tomli_w.dumps(schema.plain(told))


def _simulator(study: Any, into: Path | None) -> dict:
    inner = study.simulator.inner if isinstance(study.simulator, Repeated) else study.simulator
    if isinstance(inner, Own) and not inner.source and into is not None:
        return {"function": _packed(into, inner.code, inner.packed())}
    return _from(study, inner.to_config())


def _features(study: Any, into: Path | None) -> Any:
    chosen = choose(study.features, study._folder)
    for _, feature in chosen:
        if into is not None and getattr(feature, "source", None) == "":
            feature.source = _packed(into, feature.code, by_value.packed(
                feature.function, feature.function, feature.code))
    told = View(chosen, {}).to_config()
    if isinstance(told, dict):
        return {k: _from(study, v) for k, v in told.items()}
    return [_from(study, v) for v in told]


def _packed(into: Path, code: str, data: bytes) -> str:
    (into / "code").mkdir(exist_ok=True)
    name = f"code/{digest_of(code)}{by_value.ENDING}"
    write_atomic(into / name, [data])
    return name


def _from(study: Any, told: Any) -> Any:
    """A table whose function is found from any folder."""
    if not isinstance(told, dict) or ".py:" not in str(told.get("function", "")):
        return told
    return {**told, "function": str(study._folder.resolve() / told["function"])}


def _observed(observed: Any, into: Path) -> Any:
    if isinstance(observed, Trials):
        inside = _observed(observed.x, into)
        return {"file": inside, "trials": True}
    if isinstance(observed, (list, tuple)) and observed and isinstance(observed[0], Mapping):
        if any(o.keys() != observed[0].keys() for o in observed):
            raise DataError("several observations of different outputs")
        observed = {k: [o[k] for o in observed] for k in observed[0]}
    if isinstance(observed, Dataset):
        observed = observed.pack()
    held = io.BytesIO()
    if isinstance(observed, Mapping):
        np.savez(held, **{k: _array(k, v) for k, v in observed.items()})  # type: ignore[arg-type]
        name = "observed.npz"
    else:
        np.save(held, _array("observed", observed))
        name = "observed.npy"
    write_atomic(into / name, [held.getvalue()])
    return name


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if isinstance(value, Ragged) or array.dtype.hasobject:
        raise DataError(f"{name!r} has rows of different lengths, which no array file holds")
    return array
