"""To ArviZ: groups of named arrays as an InferenceData (arviz 0.x) or a DataTree (arviz 1.x).

The two differ in how `from_dict` takes its groups: by keywords, or as one mapping.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data.declared import Output, Ragged
from inferkit.errors import EstimatorError


def inference_data(groups: Mapping[str, Mapping[str, Any]], *, dims: Mapping[str, Sequence[str]],
                   coords: Mapping[str, Any], units: Mapping[str, str]) -> Any:
    """Groups {"posterior": {name: (chain, draw, …)}, "observed_data": {name: (…)}, …}; empty ones are
    left out, and units travel as attributes."""
    from_dict = _library()
    groups = {name: dict(held) for name, held in groups.items() if held}
    more = {"dims": {k: list(v) for k, v in dims.items()}, "coords": dict(coords)}
    by_keyword = "posterior" in inspect.signature(from_dict).parameters
    out = from_dict(**groups, **more) if by_keyword else from_dict(groups, **more)
    for group, held in groups.items():
        for name in held:
            if units.get(name):
                out[group][name].attrs["units"] = units[name]
    return out


def _library() -> Any:
    for name in ("arviz", "arviz_base"):  # the second is the part of arviz 1.x that is needed
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).from_dict
    raise EstimatorError("to_arviz needs ArviZ", fix='pip install "inferkit[arviz]"')


def outputs(x: Mapping[str, Any], known: Mapping[str, Output], trials: bool = False
            ) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Outputs of n rows as arrays, their dimensions behind the rows, and coordinates.

    Ragged rows are padded with NaN.  A dimension that has another size in another output gets that
    output's name before it.
    """
    arrays = {name: padded(value) for name, value in x.items()}
    dims: dict[str, list[str]] = {}
    coords: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for name, value in arrays.items():
        declared = known.get(name) or Output(name)
        shape = value.shape[1:]
        told = list(declared.dims) if not trials else ["trial", *declared.dims]
        if len(told) != len(shape):
            told = ["trial"] * trials + [f"{name}_dim_{i}" for i in range(len(shape) - trials)]
        for i, size in enumerate(shape):
            if sizes.setdefault(told[i], size) != size:
                told[i] = f"{name}_{told[i]}"
                sizes[told[i]] = size
        axis = None if declared.axis is None else np.asarray(declared.axis)
        first = int(trials)
        if axis is not None and len(shape) > first and shape[first] == len(axis):
            coords.setdefault(told[first], axis)
        dims[name] = told
    return arrays, dims, coords


def padded(value: Any) -> np.ndarray:
    if not isinstance(value, Ragged):
        return np.asarray(value)
    rows = list(value)
    out = np.full((len(rows), max((len(r) for r in rows), default=0)), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
