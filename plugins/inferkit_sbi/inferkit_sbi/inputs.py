"""What the networks see of the data: scaled robustly, with missing values told, then embedded.

Numbers are centred at the median and scaled by the MAD (by the sd where the MAD is 0) over the
training rows, in double precision, and `bent`, so that one wild simulation neither sets the scale nor
throws the network, and data with long tails keep what they say.
A feature that was NaN in training gets a 0 and an indicator beside it, so "undefined" is
information; one that is NaN for the first time later is an error.

Where a row is a set of trials (n, trial, …), every trial is scaled and embedded alike, and a network
that does not care for their order pools them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.data import Output, Ragged
from inferkit.errors import DataError
from inferkit.features import FEATURES, bent
from inferkit.features.scaling import BEND
from inferkit_sbi import embed


class Inputs(nn.Module):
    """Dicts of arrays to (n, k) tensors, with the embeddings inside."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, str], dim: int,
                 hidden: int, trials: tuple[int, int] | None = None):
        super().__init__()
        self.trials = None if trials is None else (int(trials[0]), int(trials[1]))
        self.shapes = {k: tuple(v) for k, v in shapes.items()}
        self.kinds, self._sizes = dict(kinds), (dim, hidden)
        self.nets = nn.ModuleDict()
        self.size = 0
        for i, (name, shape) in enumerate(self.shapes.items()):
            net, size = embed.build(self.kinds[name], shape, dim, hidden)
            self.nets[f"net{i}"] = net
            # A whole trace has one scale; numbers have one each.
            each = shape if self.kinds[name] == "none" else ()
            for what, value in (("centre", 0.0), ("scale", 1.0), ("missing", 0.0)):
                kind = torch.float32 if what == "missing" else torch.float64
                self.register_buffer(f"{what}{i}", torch.full(each, value, dtype=kind))
            # An embedded output has one indicator for all of it.
            self.size += size + int(np.prod(each, dtype=int))
        if self.trials is not None:
            trial_set = embed.Trials(self.size, hidden, dim, self.trials)
            self.pool = nn.Sequential(trial_set, nn.LayerNorm(dim))
            self.size = dim + trial_set.varies

    @classmethod
    def rebuilt(cls, meta: Mapping[str, Any], config: Any) -> Inputs:
        """As it was when `meta` was made; scales come with the weights."""
        return cls(meta["shapes"], meta["kinds"], config.embedding_dim, config.embedding_hidden,
                   meta.get("trials"))

    def like(self) -> Inputs:
        """New networks with the same scales."""
        dim, hidden = self._sizes
        made = Inputs(self.shapes, self.kinds, dim, hidden, self.trials)
        for name, value in self.named_buffers(recurse=False):
            made.get_buffer(name).copy_(value)
        return made

    @property
    def embeds(self) -> bool:
        """Whether there is an embedding to learn."""
        return self.trials is not None or any(kind != "none" for kind in self.kinds.values())

    def meta(self) -> dict:
        sets = {} if self.trials is None else {"trials": list(self.trials)}
        return {"shapes": {k: list(v) for k, v in self.shapes.items()}, "kinds": self.kinds, **sets}

    def fit(self, inputs: Mapping[str, Any]) -> None:
        """Scales from the training rows; `beyond`, the share of rows with numbers that are bent."""
        self.beyond = 0.0
        for i, name in enumerate(self.shapes):
            x = self._singles(dense(name, inputs[name]))
            axis = 0 if self.kinds[name] == "none" else None
            with np.errstate(all="ignore"):
                x = np.where(np.isfinite(x), x, np.nan)
                centre = np.nanmedian(x, axis=axis)
                mad = 1.4826 * np.nanmedian(np.abs(x - centre), axis=axis)
                sd = np.nanstd(x, axis=axis)
            scale = np.where(mad > 0, mad, sd)  # mostly equal numbers (silent neurons): the sd
            scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
            far = np.abs((x - centre) / scale) > BEND
            self.beyond = max(self.beyond, float(far.reshape(len(x), -1).any(1).mean()))
            self.get_buffer(f"centre{i}").copy_(torch.as_tensor(np.nan_to_num(centre)))
            self.get_buffer(f"scale{i}").copy_(torch.as_tensor(scale))
            self.get_buffer(f"missing{i}").copy_(torch.as_tensor(np.isnan(x).any(axis=axis)))

    def tensors(self, inputs: Mapping[str, Any], check: bool = True) -> list[torch.Tensor]:
        """Scaled float32 tensors, one an input; NaN stays NaN (`forward` tells it)."""
        out = []
        for i, name in enumerate(self.shapes):
            if name not in inputs:
                raise DataError(f"input {name!r} is missing", allowed=", ".join(self.shapes))
            given = dense(name, inputs[name])
            x = self._singles(given)
            if x.shape[1:] != self.shapes[name]:
                raise DataError(f"input {name!r} has rows of shape {x.shape[1:]}",
                                allowed=f"{self.shapes[name]}, as in training")
            centre, scale, missing = (self.get_buffer(f"{w}{i}").cpu().numpy()
                                      for w in ("centre", "scale", "missing"))
            if check:
                new = np.isnan(x) & (missing == 0)
                if new.any():
                    at = np.argwhere(new)[0][1:]
                    raise DataError(
                        f"{name}{[int(v) for v in at]} is NaN, which no training simulation had there",
                        fix="a feature that is defined for your data, or a prior under which it can "
                            "be undefined")
            z = bent((x - centre) / scale)
            out.append(torch.as_tensor(z.reshape(given.shape), dtype=torch.float32))
        return out

    def _singles(self, x: np.ndarray) -> np.ndarray:
        return x if self.trials is None else x.reshape(-1, *x.shape[2:])

    def forward(self, tensors: list[torch.Tensor], vary: bool = False) -> torch.Tensor:
        """`vary`: of sets of trials, use some, as many as an observation may have."""
        if self.trials is None:
            return self._each(tensors)
        n, m = tensors[0].shape[:2]
        each = self._each([t.flatten(0, 1) for t in tensors]).reshape(n, m, -1)
        low, pool = self.trials[0], self.pool[0]
        weights = embed.some_trials(n, low, m, each.device) if vary and low < m else None
        pooled = self.pool[1](pool(each, weights))
        # How sure one may be follows from the number: the density is told it without detour.
        return torch.cat([pooled, pool.number(each, weights)], 1) if pool.varies else pooled

    def _each(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        parts = []
        for i, (net, x) in enumerate(zip(self.nets.values(), tensors)):
            x = x[:, None] if x.ndim == 1 else x  # a number a row
            nan = torch.isnan(x)
            told = nan.to(x.dtype) * self.get_buffer(f"missing{i}")
            whole = told.flatten(1) if self.get_buffer(f"missing{i}").ndim else told.flatten(1).amax(
                1, keepdim=True)
            parts += [net(torch.where(nan, torch.zeros_like(x), x)), whole]
        return torch.cat(parts, 1)


def inputs_for(rows: Mapping[str, Any], outputs: Mapping[str, Output], config: Any,
               trials: tuple[int, int] | None = None) -> Inputs:
    """Inputs of the shapes of training rows, with the embeddings that the config asks for."""
    first = 1 if trials is None else 2
    shapes = {name: np.shape(dense(name, value))[first:] for name, value in rows.items()}
    kinds = {}
    for name, shape in shapes.items():
        if name == FEATURES:
            kinds[name] = "none"
        elif config.embedding == "auto" or (trials and config.embedding == "set"):
            kinds[name] = embed.choose(shape, outputs.get(name))
        else:
            kinds[name] = config.embedding
    inputs = Inputs(shapes, kinds, config.embedding_dim, config.embedding_hidden, trials)
    inputs.fit(rows)
    return inputs


def dense(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Ragged):
        raise DataError(f"input {name!r} is ragged", fix='features = ["spike_count", "isi"]')
    return np.asarray(value, dtype=np.float64)
