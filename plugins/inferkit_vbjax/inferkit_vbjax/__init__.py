"""Whole-brain networks and neural fields on JAX.

    connectome + mass + noise -> network (one loop) -> monitors -> simulator
    sphere + kernel -> field
    your network(x, p) -> custom

Arrays run (nodes, rows): the batch is the last axis, so that the connectome's product is a matrix
product and all else is dense arithmetic.  Importing this imports no JAX.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Monitor", "Stimulus", "dfun", "movie", "own"]
_HOMES = dict(Monitor="config", Stimulus="config", dfun="custom", own="custom", movie="field")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
