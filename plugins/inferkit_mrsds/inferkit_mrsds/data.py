"""Data as the estimator takes them: trials of one length, checked; `layout` places their neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Dataset
from inferkit.errors import DataError


@dataclass
class Trials:
    """Padded trials: y (B, T, N), NaN where nothing was observed, u (B, T, U), lengths, sessions."""

    y: np.ndarray
    u: np.ndarray
    lengths: np.ndarray
    session: np.ndarray
    region_sizes: tuple[int, ...]
    truth: dict[str, np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        return np.arange(self.y.shape[1]) < self.lengths[:, None]

    def __len__(self) -> int:
        return len(self.y)

    def select(self, rows: Any) -> Trials:
        return Trials(self.y[rows], self.u[rows], self.lengths[rows], self.session[rows],
                      self.region_sizes, {k: v[rows] for k, v in self.truth.items()})

    def until(self, t: int) -> Trials:
        """The first t bins of each trial."""
        return Trials(self.y[:, :t], self.u[:, :t], np.minimum(self.lengths, t), self.session,
                      self.region_sizes, {})

    def padded(self, T: int) -> Trials:
        """The same trials with T bins."""
        more = T - self.y.shape[1]
        if more <= 0:
            return self
        y = np.pad(self.y, ((0, 0), (0, more), (0, 0)), constant_values=np.nan)
        return Trials(y, np.pad(self.u, ((0, 0), (0, more), (0, 0))), self.lengths, self.session,
                      self.region_sizes, self.truth)


def trials(data: Mapping[str, Any], region_sizes: Sequence[int] = ()) -> Trials:
    """Trials from arrays or lists of arrays (see `given_trials`); `mask` as ys, True where observed."""
    if "ys" not in data:
        raise DataError(f"the data hold {', '.join(data) or 'nothing'}", allowed="ys, us, region_sizes",
                        fix='{"ys": array (trials, bins, neurons), "region_sizes": [50, 50]}')
    rows = as_rows(data["ys"], "ys")
    masks = data.get("mask")
    if masks is not None:
        rows = [_masked(y, m, i) for i, (y, m) in enumerate(zip(rows, as_rows(masks, "mask")))]
    N = rows[0].shape[1]
    for i, y in enumerate(rows):
        if y.shape[1] != N:
            raise DataError(f"trial {i} has {y.shape[1]} neurons, trial 0 has {N}",
                            allowed="as many in every trial (mask those that a session lacks)")
        if len(y) < 2:
            raise DataError(f"trial {i} has {len(y)} bins", allowed="2 or more: a step needs two")
        if masks is None and np.isnan(y).any():
            raise DataError(f"trial {i} has NaN in ys", fix="fill mask with False there, or leave the "
                            "trial out")
        if np.isinf(y).any():
            raise DataError(f"trial {i} has infinite values in ys")
    sizes = _sizes(data, region_sizes, N)
    us = _inputs(data.get("us"), rows)
    lengths = np.array([len(y) for y in rows])
    T = lengths.max()
    session = np.asarray(data.get("session", np.zeros(len(rows))))
    if session.shape != (len(rows),) or (session != session.astype(int)).any() or session.min() < 0:
        raise DataError(f"session has shape {session.shape}",
                        allowed=f"{len(rows)} whole numbers, 0 or more: one a trial")
    truth = {}
    for name in ("xs", "zs", "messages"):
        if data.get(name) is not None:
            truth[name] = np.stack([_pad(np.asarray(v, float), T) for v in as_rows(data[name], name)])
    if "zs" in truth and truth["zs"].ndim == 3:
        truth["zs"] = truth["zs"][..., 0]
    return Trials(
        np.stack([_pad(y, T) for y in rows]),
        np.stack([_pad(u, T, 0.0) for u in us]),
        lengths,
        session.astype(int),
        sizes,
        truth,
    )


def given_trials(x: Any, region_sizes: Sequence[int] = ()) -> Trials:
    """Trials from what a study takes as `observed`: a mapping of arrays, a `Dataset`, xarray.

    ys: (trials, bins, neurons), or a list of (bins of the trial, neurons).  us: likewise, of inputs.
    "ys.mask": as ys or (…, bins), True where observed.  session: a whole number a trial.
    region_sizes: neurons of each region.  xs, zs, messages: the truth, where it is known.
    """
    if isinstance(x, Mapping):
        x = {k: _behind_time(v) if k == "zs" else v for k, v in x.items() if v is not None}
    told = Dataset.of(x)
    held: dict[str, Any] = {name: told.rows(name) for name in told.arrays}
    if "ys" in told.masks:
        mask = told.masks["ys"]
        held["mask"] = [mask[i] for i in range(len(mask))]
    if "session" in held:  # (trial, 1), as a simulator gives it
        held["session"] = [float(np.ravel(v)[0]) for v in held["session"]]
    return trials({**told.attrs, **held}, region_sizes)


def _behind_time(zs: Any) -> Any:
    """States (bins,) of each trial as (bins, 1)."""
    rows = [np.asarray(z) for z in zs]
    return [z[:, None] if z.ndim == 1 else z for z in rows]


def as_rows(value: Any, name: str) -> list[np.ndarray]:
    try:
        rows = [np.asarray(v, dtype=float) for v in value]
    except (TypeError, ValueError) as cause:
        raise DataError(f"{name} is {type(value).__name__}: {cause}",
                        allowed="an array, trials first, or a list of one array a trial") from cause
    if not rows:
        raise DataError(f"{name} holds no trials")
    if name in ("ys", "us", "mask") and any(r.ndim != 2 for r in rows):
        raise DataError(f"a trial of {name} has shape {next(r.shape for r in rows if r.ndim != 2)}",
                        allowed=f"(bins, {'inputs' if name == 'us' else 'neurons'})")
    return rows


def _masked(y: np.ndarray, m: np.ndarray, i: int) -> np.ndarray:
    if m.shape != y.shape:
        raise DataError(f"mask of trial {i} has shape {m.shape}, ys has {y.shape}")
    y = np.where(m > 0, y, np.nan)
    if np.isnan(y[m > 0]).any():
        raise DataError(f"trial {i} has NaN in ys where mask is True")
    return y


def _sizes(data: Mapping[str, Any], given: Sequence[int], N: int) -> tuple[int, ...]:
    found = data.get("region_sizes")
    found = () if found is None else tuple(int(s) for s in np.ravel(found))
    sizes = tuple(int(s) for s in given) or found
    if given and found and sizes != found:
        raise DataError(f"region_sizes are {list(found)} in the data",
                        allowed=f"{list(sizes)}, as in the fit or its settings")
    if not sizes:
        raise DataError("nothing says which neurons are in which region",
                        fix=f"region_sizes = [{N - N // 2}, {N // 2}] beside ys: they sum to {N}")
    if min(sizes) < 1 or sum(sizes) != N:
        raise DataError(f"region_sizes {list(sizes)} sum to {sum(sizes)}",
                        allowed=f"1 or more each, {N} together: ys has {N} neurons")
    return sizes


def _inputs(us: Any, ys: list[np.ndarray]) -> list[np.ndarray]:
    if us is None:
        return [np.zeros((len(y), 0)) for y in ys]
    rows = as_rows(us, "us")
    if len(rows) != len(ys):
        raise DataError(f"us has {len(rows)} trials, ys has {len(ys)}")
    for i, (u, y) in enumerate(zip(rows, ys)):
        if u.shape != (len(y), rows[0].shape[1]):
            raise DataError(f"us of trial {i} has shape {u.shape}",
                            allowed=f"({len(y)}, {rows[0].shape[1]}): ys' bins, trial 0's inputs")
        if not np.isfinite(u).all():
            raise DataError(f"trial {i} has NaN in us")
    return rows


def _pad(a: np.ndarray, T: int, value: float = np.nan) -> np.ndarray:
    return np.pad(a, ((0, T - len(a)), *[(0, 0)] * (a.ndim - 1)), constant_values=value)


def split(n: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to hold out, both sorted; a single trial is not split."""
    count = min(int(np.ceil(share * n)) if share else 0, n - 1)
    order = rng.permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])
