"""`tvb`: The Virtual Brain as a simulator of inferkit.

It builds TVB's objects once to learn their parameters and outputs, and chooses the engine that runs
the rows:  compiled kernels -> blocks -> tvb,  the first that can run this simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from inferkit import Output, Parameter
from inferkit.errors import ConfigError, SimulatorError
from inferkit_tvb.config import TVBConfig


class TVB:
    """A region or surface simulation; see `inferkit_tvb.config.TVBConfig` for its settings."""

    def __init__(self, config: TVBConfig | None = None):
        self.config = config or TVBConfig()
        self.stochastic = self.config.abilities()["stochastic"]
        self.messages: dict[int, str] = {}

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        from inferkit_tvb import assemble, outputs, paths

        sim = assemble.template(self.config)
        known = paths.Paths(self.config, sim)
        return sim, known, outputs.watch(self.config, sim)

    @property
    def parameters(self) -> tuple[Parameter, ...] | None:
        """What can be inferred; not known where TVB is not installed (it may be where rows run)."""
        try:
            return self._parts[1].parameters
        except ImportError:
            return None

    @property
    def outputs(self) -> tuple[Output, ...] | None:
        from inferkit_tvb.outputs import declared

        try:
            return declared(self._parts[2])
        except ImportError:
            return None

    @cached_property
    def engine(self) -> Any:
        """What runs the rows; `engine.name` says which, `engine.told` why not a faster one."""
        from inferkit_tvb.engines import Engine

        return Engine(self.config, *self._parts)

    def prepare(self) -> None:
        """Import TVB, compile."""
        self.engine.prepare()

    @property
    def note(self) -> str:
        """What ran the rows, for the run's provenance."""
        return "; ".join(f"{k}: {v}" for k, v in self.provenance().items())

    def provenance(self) -> dict[str, str]:
        """The engine, and why not a faster one."""
        try:
            told = self.engine.told
        except ImportError:  # TVB is where the rows run, not here
            return {}
        more = "; ".join(f"{k}: {v}" for k, v in told.items())
        return {"engine": self.engine.name} | ({"engine_details": more} if more else {})

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
        seeds = np.asarray(seeds, np.uint64)
        sizes = {len(v) for v in theta.values()} | {len(seeds)}
        if len(sizes) != 1:
            raise SimulatorError(f"parameters and seeds have {sorted(sizes)} rows",
                                 allowed="one number")
        try:
            values = self._parts[1].settle(theta, len(seeds))
        except ConfigError as cause:  # a path that is unknown is the row's fault as well
            raise SimulatorError(cause.what, allowed=cause.allowed, fix=cause.fix) from cause
        out, diverged = self.engine.run(values, seeds, frozenset(theta))
        for i in diverged:
            for value in out.values():
                value[i] = np.nan
        self.messages = {i: f"the simulation diverged: the state was not finite at {t:g} ms"
                         for i, t in diverged.items()}
        return out
