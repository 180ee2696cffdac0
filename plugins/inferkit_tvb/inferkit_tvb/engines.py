"""Which engine runs a simulation: the first of compiled, blocks and tvb that can.

Some reasons show late (the C compiler fails, a parameter that varies has no translation): the engine
then makes way for the next one, before any row of that call is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inferkit.errors import ConfigError
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.plain import Plain

ORDER = ("compiled", "blocks", "tvb")


class CannotRun(Exception):
    """Why an engine does not run this simulation."""


class Engine:
    """The engine in use; `name` says which, `told` what is to be known of it and why not another."""

    def __init__(self, c: TVBConfig, sim: Any, paths: Any, watched: Any):
        self._parts = c, sim, paths, watched
        self._left = list(ORDER) if c.engine == "auto" else [c.engine]
        self._reasons: dict[str, str] = {}
        self._used = self._next()

    @property
    def name(self) -> str:
        return self._used.name

    @property
    def told(self) -> dict[str, str]:
        return getattr(self._used, "told", {}) | {f"not {k}": v for k, v in self._reasons.items()}

    def prepare(self) -> None:
        self._do(lambda engine: engine.prepare() if hasattr(engine, "prepare") else None)

    def run(self, values: Any, seeds: Any, free: frozenset = frozenset()) -> Any:
        return self._do(lambda engine: engine.run(values, seeds, free))

    def _do(self, what: Callable[[Any], Any]) -> Any:
        while True:
            try:
                return what(self._used)
            except CannotRun as why:
                self._reasons[self.name] = str(why)
                self._used = self._next()

    def _next(self) -> Any:
        while self._left:
            name = self._left.pop(0)
            try:
                return make(name, *self._parts)
            except CannotRun as why:
                self._reasons[name] = str(why)
        (name, why), = self._reasons.items()  # one was asked for: "tvb" runs anything
        raise ConfigError(f'engine = "{name}" cannot run this simulation: {why}', fix='engine = "auto"')


def make(name: str, c: TVBConfig, sim: Any, paths: Any, watched: Any) -> Any:
    if name == "compiled":
        from inferkit_tvb.compiled import Compiled

        return Compiled(c, sim, paths, watched)
    if name == "blocks":
        from inferkit_tvb.blocks import Blocks

        return Blocks(c, sim, paths, watched)
    return Plain(c, paths, watched)
