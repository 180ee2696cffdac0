"""Brian2 neurons and networks as simulators: compiled once, run for many parameter sets."""

from typing import Any

__version__ = "0.1.0"
_HOMES = dict(network="copies", within="copies", recording="recordings", with_units="priors")
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
