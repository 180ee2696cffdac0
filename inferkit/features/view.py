"""The features stage: from raw outputs to what an estimator sees, the same for x and observed.

    raw outputs of n rows  ->  View  ->  {"features": (n, k)}                features given
                                         {"V": (n, T), …}                    none given: raw
                                         both                                "raw" among the features

Where a row is a set of trials, features are computed a trial and inputs are (n, trial, …), unless
they summarise the set (`over_trials`): then they are (n, k) again.

Features are derived data: the store keeps raw outputs, so another choice of features costs no
simulation.  Slow ones are cached beside the shards, under a digest of what they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError, StoreError
from inferkit.features.chosen import RAW
from inferkit.plugins.repeat import LENGTHS, per_trial
from inferkit.store import UNREADABLE, Simulations, make_folder, write_atomic

FEATURES = "features"


class View:
    """What an estimator sees of the outputs.  `names` and `units` are known after the first call.

    trials: the least and the greatest number of trials an observation has, where rows are sets of
    trials; `outputs` describe a single trial.
    """

    def __init__(self, chosen: Sequence[tuple[str, Any]], outputs: Mapping[str, Output],
                 trials: tuple[int, int] | None = None):
        self.trials = trials
        self.chosen = list(chosen)
        self.outputs = dict(outputs)
        self.raw = not chosen or any(f == RAW for _, f in chosen)
        self.computed = [(label, f) for label, f in chosen if f != RAW]
        self.names: tuple[str, ...] = ()
        self.units: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        told: list[Any] = [(label, f if f == RAW else f.identity()) for label, f in self.chosen]
        told += [] if self.trials is None else [self.trials]
        return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_config(self) -> list | dict:
        entries = [(label, f if f == RAW else f.to_config()) for label, f in self.chosen]
        return dict(entries) if entries and all(label for label, _ in entries) else [
            f for _, f in entries]

    def __call__(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """The estimator's inputs for a batch of raw outputs."""
        if self.trials is not None:
            return self.of_trials(*per_trial(x))
        inputs = {k: v for k, v in x.items()} if self.raw else {}
        if self.computed:
            inputs[FEATURES] = self.matrix(x)
        return inputs

    def of_trials(self, x: Mapping[str, Any], m: int) -> dict[str, Any]:
        """The same for trials, one after the other, m of which make a row."""
        inputs = _sets(x, m) if self.raw else {}
        if self.over_trials:
            inputs[FEATURES] = self.matrix(_sets(x, m))
        elif self.computed:
            matrix = self.matrix(x)
            inputs[FEATURES] = matrix.reshape(-1, m, matrix.shape[1])
        return inputs

    @cached_property
    def built(self) -> Any:
        built = [(label, f.build()) for label, f in self.computed]
        over = {_is_over(f) for _, f in built}
        if True in over and (self.trials is None or self.trials[0] < self.trials[1]):
            raise ConfigError("features over trials need a fixed number of trials",
                              fix="ik.Study(trials=60)")
        if len(over) > 1 or (True in over and self.raw):
            raise ConfigError("features over trials stand beside features of single trials",
                              allowed="the one or the other", fix='features = ["trial_stats"]')
        labelled = built and all(label for label, _ in built)
        return dict(built) if labelled else [f for _, f in built]

    @cached_property
    def over_trials(self) -> bool:
        """Whether the features summarise a set of trials, so that inputs have no trial axis."""
        parts = self.built.values() if isinstance(self.built, Mapping) else self.built
        return any(map(_is_over, parts))

    @property
    def sets(self) -> bool:
        """Whether a row of inputs has a trial axis."""
        return self.trials is not None and not self.over_trials

    def trials_of(self, inputs: Mapping[str, Any]) -> int | None:
        """How many trials each row of inputs holds; None where it is a single simulation."""
        for name, value in inputs.items():
            if isinstance(value, Ragged) or (name != FEATURES and name not in self.outputs):
                continue
            single = 1 if name == FEATURES else len(self.outputs[name].shape or ())
            return int(value.shape[1]) if value.ndim == single + 2 else None
        return None

    def check_trials(self, m: int) -> None:
        """Refuse an observation of more or fewer trials than the study is for."""
        if not m:
            raise DataError("the observation has no trials")
        low, high = self.trials or (1, m)
        if not low <= m <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            raise DataError(f"the observation has {m} trials, the study is for {wanted}",
                            fix=f"ik.Study(trials={(min(low, m), max(high, m))})")

    def matrix(self, x: Mapping[str, Any]) -> np.ndarray:
        """The features (n, k) of a batch; k = 0 where none was asked for."""
        from inferkit.features.compose import compute_matrix

        with np.errstate(all="ignore"):
            matrix, names, units = compute_matrix(self.built, x, self.outputs)
        if self.names and names != self.names:
            raise DataError(f"features {names} came where {self.names} are expected")
        self.names, self.units = names, units
        return matrix

    def of(self, simulations: Simulations) -> dict[str, Any]:
        """The inputs of stored rows, in memory; features come from the cache where it has them."""
        x = simulations.x() if self.raw else {}
        inputs = x if self.trials is None else _sets(*per_trial(x))
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
            return np.empty((0, *([self.trials[1]] if self.trials and self.sets else []),
                             len(self.names)))
        out = np.empty((len(simulations), *blocks[0].shape[1:]))
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
            except UNREADABLE:
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
        table = Simulations(simulations.store, shards=[shard], sort=False)
        table.signature = simulations.signature
        values = self(table.x())[FEATURES]
        held_bytes = io.BytesIO()
        np.savez(held_bytes, values=values, names=np.array(self.names),
                 units=np.array(self.units), shard=np.array(shard.path.stem))
        with contextlib.suppress(OSError, StoreError):  # a cache that cannot be written stops nothing
            make_folder(folder)
            write_atomic(file, [held_bytes.getvalue()])
        return values


def _is_over(feature: Any) -> bool:
    return bool(getattr(feature, "over_trials", False))


def _sets(x: Mapping[str, Any], m: int) -> dict[str, Any]:
    """Rows (n * m, …) of single trials as (n, m, …)."""
    return {k: v if isinstance(v, Ragged) else v.reshape(-1, m, *v.shape[1:]) for k, v in x.items()}


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


def columns(view: View, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs by the names that people know: outputs, and features one by one; ragged ones by length."""
    found: dict[str, np.ndarray] = {}
    for name, value in inputs.items():
        if name == FEATURES:
            found |= {n: value[..., j] for j, n in enumerate(view.names)}
        else:
            found[name] = value.lengths if isinstance(value, Ragged) else np.asarray(value)
    return found


def outputs_of(simulator: Any, simulations: Simulations | None, trials: Any = None
               ) -> dict[str, Output]:
    """What the simulator declares, or else what its stored rows look like; a single trial's."""
    declared = getattr(simulator if trials is None else simulator.single, "outputs", None)
    if declared:
        return {o.name: o for o in declared}
    if simulations is None or not len(simulations):
        return {}
    return {name: Output(name, shape if trials is None or shape is None else shape[1:], str(dtype))
            for name, (shape, dtype) in simulations.outputs.items() if not name.endswith(LENGTHS)}


def without_axis(output: Output) -> dict:
    """An output's description as plain data, for files."""
    told = {k: v for k, v in vars(replace(output, axis=None)).items() if v not in (None, "", ())}
    if output.axis is not None:
        told["axis"] = np.asarray(output.axis).tolist()
    if output.shape is None:
        told["shape"] = "ragged"
    return told
