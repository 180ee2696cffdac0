"""bayesflow on the backend that was chosen, with nothing changed for other code in the process.

keras takes its backend from KERAS_BACKEND when it is first imported, once a process.  bayesflow,
when it is imported, sets that variable if it is not set, puts a handler on Python's root logger,
and where the backend is torch turns off gradients for everybody (a later training on torch then
raises).  Here the variable, the logger and the gradients are put back as they were.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from inferkit.errors import EstimatorError

KNOWN = ("jax", "torch")
VARIABLE = "KERAS_BACKEND"


def load(wanted: str = "auto") -> str:
    """Import bayesflow; the name of keras' backend."""
    inuse = _in_use()
    chosen = (inuse or _asked() or "jax") if wanted == "auto" else wanted
    if inuse not in (None, chosen) or chosen not in KNOWN:
        raise EstimatorError(
            f"keras is already imported on {inuse!r} in this process" if inuse
            else f"{VARIABLE} is {chosen!r}",
            allowed=f"backend {' or '.join(map(repr, KNOWN))}; keras has one a process",
            fix=f'backend = "{inuse}"' if inuse in KNOWN else
                "run the fit in a process of its own: inferkit run study.toml")
    if find_spec(chosen) is None:
        raise EstimatorError(f"the backend {chosen!r} is not installed", fix=f"pip install {chosen}")
    if "bayesflow" not in sys.modules:
        with _undisturbed(chosen):
            import bayesflow  # noqa: F401
    return chosen


def _in_use() -> str | None:
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras is not None else None


def _asked() -> str | None:
    asked = os.environ.get(VARIABLE, "")
    return asked if asked in KNOWN else None


@contextlib.contextmanager
def _undisturbed(chosen: str) -> Iterator[None]:
    before, root = os.environ.get(VARIABLE), logging.getLogger()
    handlers, level, quiet = list(root.handlers), root.level, logging.getLogger("bayesflow").level
    os.environ[VARIABLE] = chosen
    try:
        with _gradients(), _generators():
            logging.disable(logging.WARNING)  # it announces its backend
            yield
    finally:
        logging.disable(logging.NOTSET)
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("bayesflow").setLevel(max(quiet, logging.WARNING))
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


@contextlib.contextmanager
def _gradients() -> Iterator[None]:
    """Whether torch records gradients, as it was before."""
    torch = sys.modules.get("torch")
    before = torch.is_grad_enabled() if torch is not None else True
    try:
        yield
    finally:
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_grad_enabled(before)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """keras draws initial weights from `seed`, and leaves the process' generators as they were."""
    import keras

    with _generators():
        keras.utils.set_random_seed(seed)
        yield


@contextlib.contextmanager
def _generators() -> Iterator[None]:
    """The process' random generators, as they were before."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    kept = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(kept)
