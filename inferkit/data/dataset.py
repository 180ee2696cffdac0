"""Observed data as trials: several named arrays, of one length or of different ones, with masks.

    Dataset.of({"y": [first, second], "u": [u1, u2], "region_sizes": [50, 50]})

    a list of arrays (time, channel)      a trial each, of any lengths
    an array (trial, time, channel)       trials of one length
    an array (time, channel)              one trial
    a number, a text, a vector            an attribute of the data, as it is ("region_sizes")
    "y.mask"                              True where "y" was observed: shaped as y, or (…, time)

An xarray Dataset is taken with its dimensions and coordinates, a `Dataset` as it is.  In a file
(.npz) trials of different lengths stand end to end, with "y.offsets" beside "y".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferkit.data.declared import Ragged
from inferkit.data.trials import Trials
from inferkit.errors import DataError, unknown_name

DIMS = ("trial", "time", "channel")
MASK, OFFSETS, COORD = ".mask", ".offsets", ".coord"


@dataclass(frozen=True)
class Dataset:
    """Observed trials.

    arrays: (trial, time, …) by name, `Ragged` where lengths differ (values (sum of times, …)).
    dims: each array's dimensions, the trials' first.  coords: labels or times of a dimension.
    masks: True where the array of that name was observed.  attrs: what belongs to the data as a
    whole (region sizes, a sampling rate).
    """

    arrays: dict[str, np.ndarray | Ragged]
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    coords: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray | Ragged] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arrays:
            raise DataError("the data hold no array", allowed='arrays by name: {"y": [trial, trial]}')
        counts = {name: len(value) for name, value in self.arrays.items()}
        if len(set(counts.values())) > 1:
            raise DataError("arrays have different numbers of trials: "
                            + ", ".join(f"{n} {c}" for n, c in counts.items()))
        for name, value in self.arrays.items():
            self.dims.setdefault(name, (*DIMS, *(f"{name}_{k}" for k in range(3, 9)))[
                : value.values.ndim + 1 if isinstance(value, Ragged) else value.ndim])
        for name, mask in self.masks.items():
            if name not in self.arrays:
                raise unknown_name("masked array", name, self.arrays, DataError)
            if not np.array_equal(_lengths(mask), _lengths(self.arrays[name])):
                raise DataError(f"the mask of {name!r} has other trials or lengths than {name!r}")

    # -- made from what people have ----------------------------------------------------------------

    @classmethod
    def of(cls, given: Any) -> Dataset:
        """A dataset from a mapping of arrays, from xarray, or from one array or list of trials."""
        if isinstance(given, Dataset):
            return given
        if isinstance(given, Trials):
            given = given.x
        if hasattr(given, "data_vars"):  # an xarray Dataset, without importing it
            return cls._of_xarray(given)
        if hasattr(given, "to_dataset") and hasattr(given, "dims"):
            return cls._of_xarray(given.to_dataset(name=given.name or "y"))
        if not isinstance(given, Mapping):
            given = {"y": given}
        given = _joined(given)
        arrays, masks, attrs, coords = {}, {}, {}, {}
        for name, value in given.items():
            if not isinstance(name, str):
                raise DataError(f"an array is named {name!r}", allowed="names that are text")
            if name.endswith(COORD):
                coords[name.removesuffix(COORD)] = np.asarray(value)
                continue
            if name.endswith(MASK):
                masks[name.removesuffix(MASK)] = value
                continue
            trials = _trials(name, value)
            if trials is None:
                attrs[name] = _plain(value)
            else:
                arrays[name] = trials
        masks = {k: _mask(k, v, arrays[k]) if k in arrays else v for k, v in masks.items()}
        return cls(arrays, coords=coords, masks=masks, attrs=attrs)

    @classmethod
    def _of_xarray(cls, given: Any) -> Dataset:
        arrays, dims, masks = {}, {}, {}
        for name, value in given.data_vars.items():
            if not value.ndim:
                continue
            order = list(value.dims)
            if "trial" in order:
                order.insert(0, order.pop(order.index("trial")))
            held = value.transpose(*order).to_numpy()
            if "trial" not in order:
                held, order = held[None], ["trial", *order]
            if str(name).endswith(MASK):
                masks[str(name).removesuffix(MASK)] = held.astype(bool)
                continue
            arrays[str(name)], dims[str(name)] = held, tuple(map(str, order))
        coords = {str(k): v.to_numpy() for k, v in given.coords.items() if v.ndim == 1}
        return cls(arrays, dims, coords, masks, dict(given.attrs))

    # -- read --------------------------------------------------------------------------------------

    @property
    def trials(self) -> int:
        return len(next(iter(self.arrays.values())))

    def lengths(self, name: str) -> np.ndarray:
        """How long each trial is."""
        return _lengths(self[name])

    def __getitem__(self, name: str) -> np.ndarray | Ragged:
        if name not in self.arrays:
            raise unknown_name("observed array", name, self.arrays, DataError)
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def rows(self, name: str) -> list[np.ndarray]:
        """An array trial by trial."""
        value = self[name]
        return [value[i] for i in range(len(value))]

    def padded(self, name: str, fill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """(trial, longest, …) with `fill` behind shorter trials, and the mask (trial, longest) of
        what is data.  The mask says nothing of `masks`."""
        value = self[name]
        if not isinstance(value, Ragged):
            return np.asarray(value, dtype=float), np.ones(value.shape[:2], dtype=bool)
        lengths = value.lengths
        there = np.arange(lengths.max())[None] < lengths[:, None]
        out = np.full((*there.shape, *value.values.shape[1:]), fill)
        out[there] = value.values
        return out, there

    def select(self, trials: Sequence[int] | np.ndarray | slice) -> Dataset:
        """Some trials (to fit on, or to hold out)."""
        at = np.arange(self.trials)[trials]
        return Dataset({k: v[at] for k, v in self.arrays.items()}, dict(self.dims),
                       {k: v for k, v in self.coords.items() if k != "trial"},
                       {k: v[at] for k, v in self.masks.items()}, dict(self.attrs))

    # -- kept --------------------------------------------------------------------------------------

    def pack(self) -> dict[str, np.ndarray]:
        """Plain arrays by name, which `of` takes: what a .npz file of the data holds."""
        out: dict[str, np.ndarray] = {}
        for end, held in (("", self.arrays), (MASK, self.masks)):
            for name, value in held.items():
                if isinstance(value, Ragged):
                    out[f"{name}{end}"] = value.values
                    out[f"{name}{end}{OFFSETS}"] = value.offsets
                else:
                    out[f"{name}{end}"] = value
        out |= {f"{name}{COORD}": value for name, value in self.coords.items()}
        return out | {k: np.asarray(v) for k, v in self.attrs.items()}

    @property
    def digest(self) -> str:
        h = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self.pack().items()):
            h.update(f"{name}{value.shape}{value.dtype}".encode())
            h.update(np.ascontiguousarray(value).tobytes())
        return h.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.digest == other.digest

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        lines = [f"Dataset of {self.trials} trial{'s' * (self.trials != 1)}"]
        for name, value in self.arrays.items():
            n = self.lengths(name)
            span = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
            rest = value.values.shape[1:] if isinstance(value, Ragged) else value.shape[2:]
            lines.append(f"  {name:<12} {span} {self.dims[name][1]}"
                         + "".join(f" × {k} {d}" for k, d in zip(rest, self.dims[name][2:]))
                         + (", masked" if name in self.masks else ""))
        lines += [f"  {k} = {v}" for k, v in self.attrs.items()]
        return "\n".join(lines)


def _trials(name: str, value: Any) -> np.ndarray | Ragged | None:
    """Trials first; None for what is an attribute of the data."""
    if isinstance(value, Ragged):
        return value
    if isinstance(value, (list, tuple)) and value and all(np.ndim(v) >= 2 for v in value):
        rows = [_numbers(name, v) for v in value]
        ends = {r.shape[1:] for r in rows}
        if len(ends) > 1:
            raise DataError(f"trials of {name!r} have different shapes behind time: "
                            + ", ".join(map(str, sorted(ends))))
        same = len({len(r) for r in rows}) == 1
        return np.stack(rows) if same else Ragged.from_rows(rows, np.result_type(*rows))
    array = np.asarray(value)
    if array.dtype == object:
        raise DataError(f"{name!r} is no array of numbers", allowed="arrays, or a list of arrays "
                        "(time, channel), one a trial")
    if array.ndim < 2:
        return None
    array = _numbers(name, array)
    return array[None] if array.ndim == 2 else array


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name!r} holds {array.dtype}", allowed="numbers")
    return array


def _joined(given: Mapping[str, Any]) -> dict[str, Any]:
    """"y" and "y.offsets", as in a file, are one `Ragged`."""
    out = {k: v for k, v in given.items() if not str(k).endswith(OFFSETS)}
    for key in given.keys() - out.keys():
        name = key.removesuffix(OFFSETS)
        if name not in out:
            raise DataError(f"there is {key!r} and no {name!r}")
        values, offsets = np.asarray(out[name]), np.asarray(given[key])
        if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(values) or (
                np.diff(offsets) < 0).any():
            raise DataError(f"{key!r} does not cut {name!r} (length {len(values)}) into trials",
                            allowed="ascending places, from 0 to the length")
        out[name] = Ragged(values, offsets)
    return out


def _lengths(value: np.ndarray | Ragged) -> np.ndarray:
    return value.lengths if isinstance(value, Ragged) else np.full(len(value), value.shape[1])


def _mask(name: str, value: Any, array: np.ndarray | Ragged) -> np.ndarray | Ragged:
    """A mask in the shape of its array, from one of that shape or without the axes behind time."""
    rows = [array[i] for i in range(len(array))]
    given = list(value)
    if len(rows) == 1 and len(given) == len(rows[0]) != 1:
        given = [given]
    if len(given) != len(rows):
        raise DataError(f"the mask of {name!r} has {len(given)} trials, {name!r} has {len(rows)}")
    full = []
    for i, (mask, row) in enumerate(zip(given, rows)):
        m = np.asarray(mask).astype(bool)
        if m.shape != row.shape[: m.ndim]:
            raise DataError(f"the mask of {name!r} has shape {m.shape} in trial {i}",
                            allowed=f"{row.shape}, or {row.shape[:1]}")
        full.append(np.broadcast_to(m.reshape(m.shape + (1,) * (row.ndim - m.ndim)), row.shape))
    return Ragged.from_rows(full, bool) if isinstance(array, Ragged) else np.stack(full)


def _plain(value: Any) -> Any:
    """An attribute as JSON takes it."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
