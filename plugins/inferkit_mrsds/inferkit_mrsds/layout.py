"""Where each session's neurons go in the model's arrays, and their centre and scale.

A neuron's place is (region, place in the region); sessions (animals, days) may have recorded different
neurons, and each has its own layout of them.  `Layout` is made once, from the data of the fit, and
packs any later data of the same neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.errors import DataError
from inferkit_mrsds.data import Trials


class Layout:
    """Where each session's neurons go, and their centre and scale."""

    def __init__(self, place: np.ndarray, centre: np.ndarray, scale: np.ndarray,
                 region_sizes: Sequence[int], U: int, family: str):
        self.place = np.asarray(place, int)  # (S, R, M): the neuron's column in ys, -1 for none
        self.centre, self.scale = np.asarray(centre), np.asarray(scale)  # (S, N)
        self.region_sizes, self.U, self.family = tuple(region_sizes), int(U), family

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.place.shape  # type: ignore[return-value]

    @property
    def sessions(self) -> int:
        return self.place.shape[0]

    @classmethod
    def of(cls, t: Trials, family: str, d: int) -> Layout:
        S, N = int(t.session.max()) + 1, t.y.shape[-1]
        edges = np.concatenate([[0], np.cumsum(t.region_sizes)])
        known = np.zeros((S, N), bool)
        centre, scale = np.zeros((S, N)), np.ones((S, N))
        for s in range(S):
            rows = t.y[t.session == s]
            if not len(rows):
                raise DataError(f"there is no trial of session {s}",
                                allowed=f"sessions numbered 0 to {S - 1}, each with trials")
            flat = seen(rows, family).reshape(-1, N)
            known[s] = np.isfinite(flat).any(0)
            with np.errstate(invalid="ignore"):
                centre[s], scale[s] = _moments(flat)
            for n in np.flatnonzero(known[s] & ~(scale[s] > 1e-9 * (1 + np.abs(centre[s])))):
                raise DataError(f"neuron {n} is constant in session {s}",
                                fix="leave it out: it says nothing, and its noise has no scale")
            for r in range(len(t.region_sizes)):
                count = int(known[s, edges[r] : edges[r + 1]].sum())
                if count < d:
                    raise DataError(
                        f"region {r} has {count} neurons in session {s}, d is {d}",
                        allowed="as many neurons as latents, or more",
                        fix=f"d = {count or 1}",
                    )
        M = max(int(known[s, a:b].sum()) for s in range(S) for a, b in zip(edges[:-1], edges[1:]))
        place = np.full((S, len(t.region_sizes), M), -1)
        for s in range(S):
            for r, (a, b) in enumerate(zip(edges[:-1], edges[1:])):
                found = a + np.flatnonzero(known[s, a:b])
                place[s, r, : len(found)] = found
        if family == "poisson" and (bad := t.y[np.isfinite(t.y)]).size and (
                (bad < 0).any() or (bad != np.round(bad)).any()):
            odd = bad[(bad < 0) | (bad != np.round(bad))][0]
            raise DataError(f"Poisson emissions, but ys holds {odd:.4g}", allowed="counts: 0, 1, 2, …",
                            fix='emissions.family = "gaussian"')
        return cls(place, centre, scale, t.region_sizes, t.u.shape[-1], family)

    def check(self, t: Trials) -> None:
        """Data to analyse must be of the fit's neurons, inputs and sessions."""
        if t.region_sizes != self.region_sizes:
            raise DataError(f"region_sizes are {list(t.region_sizes)}",
                            allowed=f"the fit's: {list(self.region_sizes)}")
        if t.u.shape[-1] != self.U:
            raise DataError(f"us has {t.u.shape[-1]} inputs", allowed=f"{self.U}, as in the fit")
        if t.session.max() >= self.sessions:
            raise DataError(f"session {t.session.max()} was not in the fit",
                            allowed=f"0 to {self.sessions - 1}")

    def pack(self, t: Trials, hidden: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The arrays of a `Batch`; `hidden` (B, T, N) marks entries kept from the encoder."""
        self.check(t)
        raw = self.spread(t.y, t.session, np.nan)
        standard = self.standard(seen(t.y, self.family), t.session)
        given = np.where(hidden, np.nan, standard) if hidden is not None else standard
        given = self.spread(given, t.session, np.nan)
        y = raw if self.family == "poisson" else self.spread(self.standard(t.y, t.session), t.session,
                                                             np.nan)
        first = {"y": np.nan_to_num(y).astype(np.float32), "valid": np.isfinite(raw),
                 "seen": np.nan_to_num(given).astype(np.float32)}
        return {**{k: np.moveaxis(v, 2, 0) for k, v in first.items()}, "u": t.u.astype(np.float32),
                "mask": t.mask, "session": t.session.astype(np.int32)}

    def standard(self, y: np.ndarray, session: np.ndarray) -> np.ndarray:
        return (y - self.centre[session][:, None]) / self.scale[session][:, None]

    def spread(self, y: np.ndarray, session: np.ndarray, empty: float) -> np.ndarray:
        """(B, T, N) -> (B, T, R, M)."""
        place = self.place[session]  # (B, R, M)
        B, T, _ = y.shape
        out = np.take_along_axis(y, np.maximum(place, 0).reshape(B, 1, -1), 2)
        return np.where(place.reshape(B, 1, -1) < 0, empty, out).reshape(B, T, *place.shape[1:])

    def gather(self, out: np.ndarray, session: np.ndarray) -> np.ndarray:
        """(…, R, B, T, M) in the model's units -> (…, B, T, N) in the data's; NaN: not recorded."""
        out = np.moveaxis(out, -4, -2)
        *lead, B, T, R, M = out.shape
        N = sum(self.region_sizes)
        y = np.full((*lead, B, T, N), np.nan, out.dtype)
        for s in np.unique(session):
            rows = np.flatnonzero(session == s)
            r, m = np.nonzero(self.place[s] >= 0)
            block = out[..., rows, :, :, :][..., r, m]
            cols = self.place[s][r, m]
            if self.family == "gaussian":
                block = block * self.scale[s][cols] + self.centre[s][cols]
            y[..., rows[:, None, None], np.arange(T)[None, :, None], cols[None, None, :]] = block
        return y

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        return ({"place": self.place, "centre": self.centre, "scale": self.scale},
                {"region_sizes": list(self.region_sizes), "U": self.U, "family": self.family})

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Layout:
        return cls(arrays["place"], arrays["centre"], arrays["scale"], meta["region_sizes"], meta["U"],
                   meta["family"])


def seen(y: np.ndarray, family: str) -> np.ndarray:
    """What the encoder looks at: activity, or the square root of counts (steadier variance)."""
    return np.sqrt(np.maximum(y, 0)) if family == "poisson" else y


def _moments(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = np.isfinite(flat)
    count = np.maximum(found.sum(0), 1)
    filled = np.where(found, flat, 0.0)
    centre = filled.sum(0) / count
    return centre, np.sqrt((np.where(found, flat - centre, 0.0) ** 2).sum(0) / count)
