"""Outputs of simulations on their way into a shard: checked, joined, examined for NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import SimulatorError
from inferkit.store import OK, STATUS
from inferkit.store.shard import storable
from inferkit.store.table import missing


def checked_output(name: str, value: Any, n: int, declared: Output | None) -> Any:
    """The output as an array of n rows (or Ragged), or a SimulatorError that says what is due."""
    if not isinstance(name, str) or name.endswith(("#values", "#lengths")):
        raise SimulatorError(f"an output is named {name!r}",
                             allowed="names that are text and do not end in #values or #lengths")
    if not isinstance(value, Ragged):
        value = np.asarray(value)
        if value.dtype == object:
            raise SimulatorError(f"output {name!r} holds Python objects or rows of unequal length",
                                 fix="return Ragged.from_rows(rows), or pad the rows")
        value = storable(value)
    length = len(value) if isinstance(value, Ragged) or value.ndim else 0
    if length != n:
        raise SimulatorError(
            f"output {name!r} has {length} rows for {n} parameter sets",
            allowed=f"an array of shape ({n}, …): the batch comes first")
    if declared is None or declared.shape is None or isinstance(value, Ragged):
        if declared is not None and (declared.shape is None) != isinstance(value, Ragged):
            raise SimulatorError(f"output {name!r} was declared "
                                 f"{'ragged' if declared.shape is None else declared.shape}")
        return value
    if value.shape[1:] != tuple(declared.shape):
        raise SimulatorError(f"output {name!r} has rows of shape {value.shape[1:]}",
                             allowed=f"{tuple(declared.shape)}, as declared")
    return value


def join(done: list) -> dict[str, Any]:
    """The outputs of all segments in one array each; failed rows get NaN, 0 or nothing."""
    results = [d[3] for d in done if d[3]]
    if not results:
        return {}
    joined: dict[str, Any] = {}
    for name, like in results[0].items():
        if isinstance(like, Ragged):
            rows = [r for d in done for r in (d[3][name] if d[3] else [like.values[:0]])]
            joined[name] = Ragged.from_rows(rows, like.dtype)
            continue
        joined[name] = np.concatenate([
            d[3][name] if d[3] else np.full((len(d[0]), *like.shape[1:]), missing(like.dtype),
                                            like.dtype) for d in done])
    return joined


def finite(value: Any) -> bool:
    array = value.values if isinstance(value, Ragged) else value
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def mark_nonfinite(status: np.ndarray, x: dict, outputs: dict[str, Output]) -> np.ndarray:
    for name, value in x.items():
        if (name in outputs and outputs[name].allow_nan) or finite(value):
            continue
        if isinstance(value, Ragged):
            ok = np.array([np.isfinite(r).all() for r in value])
        else:
            ok = np.isfinite(value.reshape(len(value), -1)).all(axis=1)
        status = np.where((status == OK) & ~ok, STATUS.index("nonfinite"), status).astype(np.uint8)
    return status
