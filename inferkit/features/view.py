"""The features stage: from raw outputs to what an estimator sees, the same for x and observed.

    raw outputs of n rows  ->  View  ->  {"features": (n, k)}                features given
                                         {"V": (n, T), …}                    none given: raw
                                         both                                "raw" among the features

Features are derived data: the store keeps raw outputs, so another choice of features costs no
simulation.  Slow ones are cached beside the shards, under a digest of what they are.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError, unknown_name
from inferkit.plugins import Component, own_code
from inferkit.store import Simulations, write_atomic

FEATURES = "features"
RAW = "raw"


def choose(given: Any, folder: Path = Path()) -> list[tuple[str, Any]]:
    """(label, feature) for each entry of a study's `features`; label "" keeps its own names.

    An entry is a name, a table with a name and settings, a table {function = "file.py:f"}, a
    function, a feature object, or "raw"; a mapping labels its entries.
    """
    if given is None:
        return []
    if isinstance(given, (str, Component)) or callable(given):
        given = [given]
    if isinstance(given, Mapping):
        return [(str(k), _entry(v, folder)) for k, v in given.items()]
    if not isinstance(given, Sequence):
        raise ConfigError(f"features is {given!r}", allowed='a list: ["stats", "psd"]')
    return [("", _entry(v, folder)) for v in given]


def _entry(entry: Any, folder: Path) -> Any:
    if entry == RAW or isinstance(entry, Component):
        return entry
    if isinstance(entry, str):
        return Component.choose("feature", entry, {})
    if isinstance(entry, Mapping):
        settings = dict(entry)
        if "function" in settings:
            return _OwnFeature(own_code.import_function(settings["function"], folder),
                               settings["function"])
        if "name" not in settings:
            raise ConfigError(f"feature {entry!r} has no name", fix='{name = "psd", …}')
        return Component.choose("feature", settings.pop("name"), settings)
    if callable(entry) or hasattr(entry, "compute"):
        return _OwnFeature(entry)
    raise ConfigError(f"{entry!r} is no feature",
                      allowed="a feature's name, a table with a name, a function of x")


class _OwnFeature:
    """The user's function; its digest stands in for a name in the cache's key."""

    def __init__(self, thing: Any, source: str = ""):
        self.thing, self.source = thing, source

    def build(self) -> Any:
        return self.thing

    def to_config(self) -> dict:
        if not self.source:
            raise ConfigError(f"feature {self.thing!r} is a Python object, which a file cannot hold",
                              fix='features = [{function = "my_features.py:peak"}]')
        return {"function": self.source}

    def identity(self) -> dict:
        return {"code": own_code.code_digest(self.thing)}


class View:
    """What an estimator sees of the outputs.  `names` and `units` are known after the first call."""

    def __init__(self, chosen: Sequence[tuple[str, Any]], outputs: Mapping[str, Output]):
        self.chosen = list(chosen)
        self.outputs = dict(outputs)
        self.raw = not chosen or any(f == RAW for _, f in chosen)
        self.computed = [(label, f) for label, f in chosen if f != RAW]
        self.names: tuple[str, ...] = ()
        self.units: tuple[str, ...] = ()
        self._built: Any = None

    @property
    def digest(self) -> str:
        told = [(label, f if f == RAW else f.identity()) for label, f in self.chosen]
        return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_config(self) -> list | dict:
        entries = [(label, f if f == RAW else f.to_config()) for label, f in self.chosen]
        return dict(entries) if entries and all(label for label, _ in entries) else [
            f for _, f in entries]

    def __call__(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """The estimator's inputs for a batch of raw outputs."""
        inputs = {k: v for k, v in x.items()} if self.raw else {}
        if self.computed:
            inputs[FEATURES] = self.matrix(x)
        return inputs

    def matrix(self, x: Mapping[str, Any]) -> np.ndarray:
        """The features (n, k) of a batch; k = 0 where none was asked for."""
        from inferkit.features.compose import compute_matrix

        if self._built is None:
            built = [(label, f.build()) for label, f in self.computed]
            labelled = built and all(label for label, _ in built)
            self._built = dict(built) if labelled else [f for _, f in built]
        with np.errstate(all="ignore"):
            matrix, names, units = compute_matrix(self._built, x, self.outputs)
        if self.names and names != self.names:
            raise DataError(f"features {names} came where {self.names} are expected")
        self.names, self.units = names, units
        return matrix

    def of(self, simulations: Simulations) -> dict[str, Any]:
        """The inputs of stored rows, in memory; features come from the cache where it has them."""
        inputs = simulations.x() if self.raw else {}
        if self.computed:
            inputs[FEATURES] = self._cached(simulations)
        return inputs

    def _cached(self, simulations: Simulations) -> np.ndarray:
        folder = simulations.store.path / "derived" / self.digest
        blocks, where = [], []
        for shard, rows, positions in simulations.by_shard():
            values = self._of_shard(shard, folder, simulations)
            blocks.append(values[positions])
            where.append(rows)
        if not blocks:
            return np.empty((0, len(self.names)))
        out = np.empty((len(simulations), blocks[0].shape[1]))
        out[np.concatenate(where)] = np.concatenate(blocks)
        return out

    def _of_shard(self, shard: Any, folder: Path, simulations: Simulations) -> np.ndarray:
        file = folder / f"{shard.path.stem}.npz"
        if file.exists():
            try:
                with np.load(file) as held:
                    if str(held["shard"]) != shard.path.stem:
                        raise ValueError("the features of another shard")
                    names, units, values = tuple(held["names"]), tuple(held["units"]), held["values"]
                self.names, self.units = names, units
                return values
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                file.unlink(missing_ok=True)
        table = Simulations(simulations.store, shards=[shard], sort=False)
        table.signature = simulations.signature
        values = self.matrix(table.x())
        try:
            import io

            held_bytes = io.BytesIO()
            np.savez(held_bytes, values=values, names=np.array(self.names),
                     units=np.array(self.units), shard=np.array(shard.path.stem))
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(file, [held_bytes.getvalue()])
        except OSError:  # a cache that cannot be written is no reason to stop
            pass
        return values


def flatten(inputs: Mapping[str, Any]) -> np.ndarray:
    """All inputs of n rows as one matrix (n, k), for estimators that take a flat vector."""
    columns = []
    for name, value in inputs.items():
        if isinstance(value, Ragged):
            raise DataError(
                f"output {name!r} is ragged (rows of different lengths); this estimator takes "
                "numbers", fix='features = ["spike_count", "isi"]')
        columns.append(np.asarray(value, dtype=np.float64).reshape(len(value), -1))
    return np.concatenate(columns, axis=1)


def observe(observed: Any, view: View) -> tuple[dict[str, Any], bool]:
    """Observed data as a batch of the estimator's inputs, and whether it was several.

    One observation is a dict of the outputs' arrays (or of the features' values), or one array
    where there is one output; several are a list of those, or arrays with one axis more.
    """
    if isinstance(observed, (list, tuple)) and observed and isinstance(observed[0], Mapping):
        each = [observe(o, view)[0] for o in observed]
        return {k: stack([e[k] for e in each]) for k in each[0]}, True
    outputs = view.outputs
    if not isinstance(observed, Mapping):
        if len(outputs) != 1:
            raise DataError(f"observed is {type(observed).__name__}",
                            allowed=f"a dict with {', '.join(outputs) or 'the outputs by name'}",
                            fix=None if outputs else "study.simulate(1000) first: until then nobody "
                                "knows what your function returns")
        observed = {next(iter(outputs)): observed}
    if view.computed and not view.raw and observed.keys() <= set(view.names) and (
            not observed.keys() <= outputs.keys()):
        return _observed_features(observed, view)
    for name in observed:
        if outputs and name not in outputs:
            raise unknown_name("observed output", name, outputs, DataError)
    missing = [n for n in outputs if n not in observed]
    if missing and view.raw:
        raise DataError(f"observed lacks {', '.join(missing)}",
                        allowed=f"all outputs of the simulator: {', '.join(outputs)}")
    batch, several = {}, set()
    for name, value in observed.items():
        batch[name], many = _observed_output(name, value, outputs.get(name))
        several.add(many)
    if len(several) > 1 or len({len(v) for v in batch.values()}) > 1:
        raise DataError("some observed outputs hold several observations, others one",
                        fix="give every output the same number of observations")
    inputs = view({k: batch[k] for k in outputs if k in batch} if outputs else batch)
    return inputs, several == {True}


def _observed_features(observed: Mapping[str, Any], view: View) -> tuple[dict[str, Any], bool]:
    missing = [n for n in view.names if n not in observed]
    if missing:
        raise DataError(f"observed features lack {', '.join(missing)}",
                        allowed=", ".join(view.names))
    columns = [np.atleast_1d(np.asarray(observed[n], dtype=float)) for n in view.names]
    return {FEATURES: np.stack(columns, axis=1)}, len(columns[0]) > 1


def _observed_output(name: str, value: Any, output: Output | None) -> tuple[Any, bool]:
    if output is not None and output.shape is None:
        if isinstance(value, Ragged):
            return value, True
        if len(value) and np.ndim(value[0]) == 1:
            return Ragged.from_rows(value), True
        return Ragged.from_rows([np.asarray(value)]), False
    try:
        array = np.asarray(value)
        array = array if array.dtype.kind in "fiub" else array.astype(float)
    except (TypeError, ValueError):
        raise DataError(f"observed {name!r} is not numeric", allowed="numbers") from None
    if array.dtype.kind == "f" and not (output and output.allow_nan):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            raise DataError(
                f"observed {name!r} has {len(bad)} NaN or Inf of {array.size} values, "
                f"the first at {tuple(int(i) for i in bad[0])}",
                fix="cut or interpolate them, or use features that do not need them")
    shape = tuple(output.shape or ()) if output is not None else None
    if shape is None or array.shape == shape:
        return array[None], False
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array, True
    raise DataError(f"observed {name!r} has shape {array.shape}",
                    allowed=f"{shape}, or (m, {', '.join(map(str, shape))}) for m observations")


def stack(values: list[Any]) -> Any:
    """Batches of one output, end to end."""
    if isinstance(values[0], Ragged):
        return Ragged.from_rows([r for v in values for r in v])
    return np.concatenate(values)


def outputs_of(simulator: Any, simulations: Simulations | None) -> dict[str, Output]:
    """What the simulator declares, or else what its stored rows look like."""
    declared = getattr(simulator, "outputs", None)
    if declared:
        return {o.name: o for o in declared}
    if simulations is None or not len(simulations):
        return {}
    return {name: Output(name, shape, str(dtype)) for name, (shape, dtype)
            in simulations.outputs.items()}


def without_axis(output: Output) -> dict:
    """An output's description as plain data, for files."""
    told = {k: v for k, v in vars(replace(output, axis=None)).items() if v not in (None, "", ())}
    if output.axis is not None:
        told["axis"] = np.asarray(output.axis).tolist()
    if output.shape is None:
        told["shape"] = "ragged"
    return told

