"""Features computed where the simulation runs, so that raw traces need not be stored.

`reduce = ["spike_count", {name = "stats", output = "v"}]` takes what a study's `features` take; each
number becomes an output of its own.  The raw outputs that `keep` names are handed on too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit import Output, Ragged
from inferkit.errors import ConfigError, unknown_name


class Reducer:
    """Raw outputs of a block of rows -> the outputs that are stored."""

    def __init__(self, config: Any, raw: Sequence[Output]):
        from inferkit.features import View, choose

        self.raw = {o.name: o for o in raw}
        for name in config.keep:
            if name not in self.raw:
                raise unknown_name("output in keep:", name, self.raw)
        self.view = View(choose(list(config.reduce)), self.raw)
        if self.view.raw:
            raise ConfigError('reduce has "raw" among its features', fix='keep = ["v"] keeps a trace')
        self.keep = config.keep
        self.view.matrix({o.name: quiet(o) for o in raw})  # tells the names
        self.outputs = (
            *(Output(n, (), unit=u, allow_nan=True) for n, u in zip(self.view.names, self.view.units)),
            *(self.raw[k] for k in self.keep),
        )

    def __call__(self, x: Mapping[str, Any]) -> dict[str, Any]:
        matrix = self.view.matrix(x)
        return {
            **{n: matrix[:, k].copy() for k, n in enumerate(self.view.names)},
            **{k: x[k] for k in self.keep},
        }

    def observed(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """One observation's raw outputs as the outputs that a study's simulations have."""
        batch = {}
        for name, value in x.items():
            shape = self.raw[name].shape if name in self.raw else ()
            batch[name] = Ragged.from_rows([value]) if shape is None else np.asarray(value)[None]
        return {k: v[0] for k, v in self(batch).items()}


def quiet(output: Output) -> Any:
    """A row of an output in which nothing happens."""
    if output.shape is None:
        return Ragged.from_rows([[]])
    return np.zeros((1, *output.shape))
