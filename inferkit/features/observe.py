"""Observed data as a batch of what an estimator sees, checked against what the simulator gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged, Trials
from inferkit.errors import DataError, unknown_name
from inferkit.features.view import FEATURES, View
from inferkit.store import Simulations


def observe(observed: Any, view: View) -> tuple[dict[str, Any], bool]:
    """Observed data as a batch of the estimator's inputs, and whether it was several.

    One observation is a dict of the outputs' arrays (or of the features' values), or one array
    where there is one output; several are a list of those, or arrays with one axis more.  Where the
    study has trials, or the data are `Trials`, one observation's arrays have the trials first.
    """
    if isinstance(observed, (list, tuple)) and observed and isinstance(observed[0], (Mapping, Trials)):
        each = [observe(o, view)[0] for o in observed]
        if len({view.trials_of(e) for e in each}) > 1:
            raise DataError("observations have different numbers of trials",
                            fix="ask for them one at a time")
        return {k: stack([e[k] for e in each]) for k in each[0]}, True
    sets = view.trials is not None or isinstance(observed, Trials)
    if isinstance(observed, Trials):
        observed = observed.x
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
        return _observed_features(observed, view, sets and not view.over_trials)
    for name in observed:
        if outputs and name not in outputs:
            raise unknown_name("observed output", name, outputs, DataError)
    missing = [n for n in outputs if n not in observed]
    if missing and view.raw:
        raise DataError(f"observed lacks {', '.join(missing)}",
                        allowed=f"all outputs of the simulator: {', '.join(outputs)}")
    if sets:
        return _observed_sets(observed, view)
    batch, several = {}, set()
    for name, value in observed.items():
        batch[name], many = _observed_output(name, value, outputs.get(name))
        several.add(many)
    if len(several) > 1 or len({len(v) for v in batch.values()}) > 1:
        raise DataError("some observed outputs hold several observations, others one",
                        fix="give every output the same number of observations")
    inputs = view({k: batch[k] for k in outputs if k in batch} if outputs else batch)
    return inputs, several == {True}


def check_observed(observed: Any, view: View, seen: Simulations) -> None:
    """Refuse observed data that do not fit, as soon as what was seen of the simulator tells."""
    if len(row := seen.ok.select(slice(0, 1))):
        view(row.x())  # now the features have names
    if view.outputs and (len(row) or not view.computed):
        observe(observed, view)


def _observed_sets(observed: Mapping[str, Any], view: View) -> tuple[dict[str, Any], bool]:
    """Observations of several trials each: arrays (trial, …), or (observation, trial, …)."""
    flat: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in observed.items():
        output = view.outputs.get(name)
        if output is not None and output.shape is None:
            rows = value if isinstance(value, Ragged) else Ragged.from_rows(list(value))
            flat[name], shapes[name] = rows, (len(rows),)
            continue
        array = _finite(name, value, output)
        single = tuple(output.shape or ()) if output is not None else array.shape[1:]
        extra = array.ndim - len(single)
        if extra not in (1, 2) or array.shape[extra:] != single:
            behind = "".join(f", {k}" for k in single)
            raise DataError(
                f"observed {name!r} has shape {array.shape}, and one observation is several trials",
                allowed=f"(trials{behind}), or (m, trials{behind}) for m observations",
                fix="x[None] is a set of one trial" if array.shape == single else None)
        shapes[name] = array.shape[:extra]
        flat[name] = array.reshape(-1, *single)
    if len(set(shapes.values())) > 1:
        raise DataError("observed outputs have different numbers of trials: " + ", ".join(
            f"{n} {' × '.join(map(str, s))}" for n, s in shapes.items()))
    shape = next(iter(shapes.values()))
    view.check_trials(shape[-1])
    ordered = {k: flat[k] for k in view.outputs if k in flat} if view.outputs else flat
    return view.of_trials(ordered, shape[-1]), len(shape) == 2


def _observed_features(observed: Mapping[str, Any], view: View, sets: bool
                       ) -> tuple[dict[str, Any], bool]:
    missing = [n for n in view.names if n not in observed]
    if missing:
        raise DataError(f"observed features lack {', '.join(missing)}",
                        allowed=", ".join(view.names))
    columns = [np.atleast_1d(np.asarray(observed[n], dtype=float)) for n in view.names]
    matrix = np.stack(columns, axis=1)
    if sets:  # a value a trial
        view.check_trials(len(matrix))
        return {FEATURES: matrix[None]}, False
    return {FEATURES: matrix}, len(matrix) > 1


def _observed_output(name: str, value: Any, output: Output | None) -> tuple[Any, bool]:
    if output is not None and output.shape is None:
        if isinstance(value, Ragged):
            return value, True
        if len(value) and np.ndim(value[0]) == 1:
            return Ragged.from_rows(value), True
        return Ragged.from_rows([np.asarray(value)]), False
    array = _finite(name, value, output)
    shape = tuple(output.shape or ()) if output is not None else None
    if shape is None or array.shape == shape:
        return array[None], False
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array, True
    if array.shape == (*shape, 1) and shape != ():  # a column of a table, a vector of MATLAB's
        return array[None, ..., 0], False
    raise DataError(f"observed {name!r} has shape {array.shape}",
                    allowed=f"{shape}, or (m, {', '.join(map(str, shape))}) for m observations",
                    fix="m trials of one observation: ik.Trials(x), or ik.Study(trials=m)"
                    if array.ndim > len(shape) else None)


def _finite(name: str, value: Any, output: Output | None) -> np.ndarray:
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
    return array


def stack(values: list[Any]) -> Any:
    """Batches of one input, end to end."""
    if isinstance(values[0], Ragged):
        return Ragged.from_rows([r for v in values for r in v])
    return np.concatenate(values)
