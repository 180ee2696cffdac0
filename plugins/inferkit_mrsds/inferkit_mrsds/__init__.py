"""Multi-region switching dynamical systems: states, latents and messages between regions.

    data      trials -> checked, laid out by region
    model     dynamics, states, emissions; the inference network
    infer     the path of latents, the chain of states, the objective
    train     a start from the data, the compiled loop, resume
    engine    what a fit says (analyse/), its checks (diagnostics) and pictures (report)

Importing this imports no JAX.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["export_mat", "import_config", "read", "recovery", "select"]
_HOMES = {"export_mat": "export", "import_config": "files", "read": "files",
          "recovery": "analyse.recovery", "select": "selection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
