"""Which engine runs a simulation: the first of compiled, blocks and tvb that can."""

from __future__ import annotations

from typing import Any

from inferkit.errors import ConfigError
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.plain import Plain


class CannotRun(Exception):
    """Why an engine does not run this simulation."""


def choose(c: TVBConfig, sim: Any, paths: Any, watched: Any) -> Any:
    reasons: dict[str, str] = {}
    for name in ("compiled", "blocks", "tvb") if c.engine == "auto" else (c.engine,):
        try:
            engine = make(name, c, sim, paths, watched)
        except CannotRun as why:
            reasons[name] = str(why)
            continue
        engine.told = getattr(engine, "told", {}) | {f"not {k}": v for k, v in reasons.items()}
        return engine
    raise ConfigError(f'engine = "{c.engine}" cannot run this simulation: {reasons[c.engine]}',
                      fix='engine = "auto"')


def make(name: str, c: TVBConfig, sim: Any, paths: Any, watched: Any) -> Any:
    if name == "compiled":
        from inferkit_tvb.compiled import Compiled

        return Compiled(c, sim, paths, watched)
    if name == "blocks":
        from inferkit_tvb.blocks import Blocks

        return Blocks(c, sim, paths, watched)
    return Plain(c, paths, watched)
