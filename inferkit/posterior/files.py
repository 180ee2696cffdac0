"""A posterior in files: posterior.json says what it is, arrays.npz holds the numbers; no pickle.

A checksum binds the two, so that another study's arrays, or damaged ones, are found.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import plugins
from inferkit.data import Dataset, Output, trial_range
from inferkit.errors import InferkitError, StoreError
from inferkit.estimate import NoPrior
from inferkit.features import View
from inferkit.features.chosen import choose
from inferkit.features.view import without_axis
from inferkit.plugins import Component
from inferkit.prior import Prior
from inferkit.store import UNREADABLE, make_folder, write_atomic

FORMAT = 1


def write(folder: Path, posterior: Any) -> Path:
    make_folder(folder)
    arrays, meta = posterior.engine.state()
    held = {f"engine/{k}": np.asarray(v) for k, v in arrays.items()}
    if isinstance(posterior.observed, Dataset):
        held |= {f"dataset/{k}": v for k, v in posterior.observed.pack().items()}
    else:
        held |= {f"observed/{k}": v for k, v in (posterior.observed or {}).items()
                 if isinstance(v, np.ndarray)}
    told = {
        "format": FORMAT, "estimator": posterior.estimator.identity(), "engine": meta,
        "prior": _config_or_none(posterior.prior), "features": _config_or_none(posterior.view),
        "outputs": {n: without_axis(o) for n, o in posterior.view.outputs.items()},
        "feature_names": list(posterior.view.names), "feature_units": list(posterior.view.units),
        "units": dict(posterior.prior.units), "seed": posterior.seed, "info": posterior.info,
    }
    if posterior.view.trials is not None:
        told["trials"] = list(posterior.view.trials)
    blob = io.BytesIO()
    np.savez(blob, **held)  # type: ignore[arg-type]
    told["arrays_crc"] = zlib.crc32(blob.getvalue())  # the two belong together
    write_atomic(folder / "arrays.npz", [blob.getvalue()])
    write_atomic(folder / "posterior.json", [json.dumps(told, indent=1, default=str).encode()])
    return folder


def read(folder: Path, prior: Any, features: Any, trust: bool, beside: Path = Path()
         ) -> dict[str, Any]:
    """What `Posterior` is made of; own code that the folder names is run only where trusted.

    beside: where the files of own code lie.
    """
    try:
        told = json.loads((folder / "posterior.json").read_bytes())
        data = (folder / "arrays.npz").read_bytes()
        if zlib.crc32(data) != told.get("arrays_crc", zlib.crc32(data)):
            raise ValueError("arrays.npz is not what posterior.json was written with")
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            arrays = dict(held)
        found = told["format"]
    except FileNotFoundError as cause:
        raise StoreError(f"{folder} holds no posterior",
                         fix="the folder that study.fit or posterior.save wrote") from cause
    except (TypeError, *UNREADABLE) as cause:
        raise StoreError(f"the posterior in {folder} is damaged: {cause}",
                         fix="study.fit(refit=True)") from cause
    if found != FORMAT:
        raise StoreError(f"{folder} has posterior format {found}, this inferkit reads "
                         f"{FORMAT}", fix="pip install --upgrade inferkit")
    try:
        return _restored(told, arrays, prior, features, trust, beside)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as cause:
        raise StoreError(f"the posterior in {folder} is damaged: {type(cause).__name__}: {cause}",
                         fix="study.fit(refit=True)") from cause


def _restored(told: dict, arrays: dict[str, np.ndarray], prior: Any, features: Any, trust: bool,
              beside: Path) -> dict[str, Any]:
    kept = told["estimator"]
    estimator = Component.choose("estimator", f"{kept['package']}:{kept['name']}", kept["config"])
    if prior is None:
        prior = NoPrior() if told["prior"] == {} else _prior_of(told["prior"])
    if features is None:
        features = _needed(told["features"], "features")
        if not trust and (named := [f["function"] for f in _entries(features) if "function" in f]):
            raise StoreError(
                f"this posterior's features name code of your own ({', '.join(map(str, named))}), and "
                "loading runs none unless asked", fix="ik.load(path, trust=True), or features=…")
    chosen = choose(features, beside)
    view = View(chosen, {n: _output(n, o) for n, o in told["outputs"].items()},
                trial_range(told.get("trials")))
    view.names, view.units = tuple(told["feature_names"]), tuple(told["feature_units"])
    engine = plugins.load(estimator.spec).restore(
        {k.removeprefix("engine/"): v for k, v in arrays.items() if k.startswith("engine/")},
        told["engine"], prior if prior.names else None)
    observed: Any = {k.removeprefix("observed/"): v for k, v in arrays.items()
                if k.startswith("observed/")}
    if data := {k.removeprefix("dataset/"): v for k, v in arrays.items()
                if k.startswith("dataset/")}:
        observed = Dataset.of(data)
    return {"engine": engine, "estimator": estimator, "prior": prior, "view": view,
            "seed": told["seed"], "observed": observed or None, "info": told["info"]}


def _entries(features: Any) -> list[Mapping]:
    entries = features.values() if isinstance(features, Mapping) else features
    return [f for f in entries if isinstance(f, Mapping)]


def _output(name: str, told: dict) -> Output:
    told = dict(told)
    told["shape"] = None if told.get("shape") == "ragged" else tuple(told.get("shape", ()))
    told["axis"] = np.asarray(told["axis"]) if "axis" in told else None
    told["dims"] = tuple(told.get("dims", ()))
    return Output(**{**told, "name": name})


def _needed(config: Any, what: str) -> Any:
    if config is None:
        raise StoreError(f"this posterior's {what} holds functions, which no file keeps",
                         fix=f"ik.load(path, {what}=…)")
    return config


def _prior_of(config: Any) -> Prior:
    return Prior.from_config(_needed(config, "prior"))


def _config_or_none(thing: Any) -> Any:
    try:
        return thing.to_config()
    except InferkitError:
        return None
