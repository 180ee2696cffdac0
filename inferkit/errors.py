"""Errors that say what came, what is allowed and what to type.

Every error that inferkit raises on purpose is an `InferkitError`.  Its message has up to three
parts: what went wrong, what would have been right, and a line that the user can act on.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class InferkitError(Exception):
    """Base of all errors raised on purpose.

    `what` came; `allowed` is what would have been right; `fix` is what to type or do next.
    """

    def __init__(self, what: str, *, allowed: str | None = None, fix: str | None = None):
        self.what, self.allowed, self.fix = what, allowed, fix
        lines = [what]
        if allowed:
            lines.append(f"  allowed: {allowed}")
        if fix:
            lines.append(f"  try:     {fix}")
        super().__init__("\n".join(lines))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message and the reader's own line that led to it.

        With INFERKIT_TRACEBACK=1 in the environment the whole traceback, through the library.
        """
        if os.environ.get("INFERKIT_TRACEBACK", "") not in ("", "0"):
            return "".join(traceback.format_exception(self)).splitlines()
        told = [f"{type(self).__name__}: {self}"]
        frames = traceback.extract_tb(self.__traceback__)
        own = [f for f in frames if f.line and not _library(f.filename)]
        if own:
            told.append(f"  line {own[-1].lineno}:  {own[-1].line}")
        cause = self.__cause__
        if cause is not None and not isinstance(cause, InferkitError):
            told.append(f"  cause:   {type(cause).__name__}: {cause}")
            told.append("  (%env INFERKIT_TRACEBACK=1 shows where)")
        return told

    def __reduce__(self):  # keyword-only arguments survive the trip between processes
        return _rebuild, (type(self), self.what, self.allowed, self.fix)


def _library(file: str) -> bool:
    """Whether a file is the library's, or an installed package's (IPython's own frames too)."""
    return str(Path(__file__).parent) in file or "site-packages" in file


def _rebuild(cls, what, allowed, fix):
    return cls(what, allowed=allowed, fix=fix)


class ConfigError(InferkitError):
    """A study file, a setting or an argument is wrong."""


class PluginError(InferkitError):
    """A plugin is unknown, ambiguous, missing or broken."""


class PriorError(InferkitError):
    """A prior is not a proper distribution, or a value does not fit it."""


class SimulatorError(InferkitError):
    """A simulator breaks its contract (wrong names, shapes, seeds)."""


class StoreError(InferkitError):
    """Stored simulations are missing, damaged or belong to another study."""


class DiskFullError(StoreError):
    """No space left; what was finished is safe and the message says where."""


class ReadOnlyError(StoreError):
    """Nothing can be written there; what only reads works all the same."""


class BusyError(StoreError):
    """Another process is writing this run."""


class DataError(InferkitError):
    """Observed data do not fit the simulator's outputs or the features."""


class EstimatorError(InferkitError):
    """An estimator cannot work with this study, or its fit failed."""


class ExecutorError(InferkitError):
    """An executor cannot place work, or lost it for good."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a mistyped one, if any is near."""
    found = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return found[0] if found else None


MANY = 60
"""An error lists so many names at most."""


def unknown_name(
    kind: str, name: str, known: Iterable[str], error: type[InferkitError] = ConfigError
) -> InferkitError:
    """The error for a name that is not among the known ones, with the nearest as a remedy."""
    known = sorted(str(k) for k in known)
    near = closest(name, known)
    told = ", ".join(known[:MANY]) + (f", … ({len(known)} in all)" if len(known) > MANY else "")
    return error(
        f"unknown {kind} {name!r}",
        allowed=told or f"there are no {kind}s",
        fix=f"did you mean {near!r}?" if near else None,
    )


def names_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which answers a mistyped keyword with the nearest that it has."""
    known = [n for n in inspect.signature(function).parameters if n != "self"]
    of = function.__qualname__.removesuffix(".__init__").removeprefix("own_")

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        for name in keywords:
            if name not in known:
                raise unknown_name(f"argument of {of}", name, known)
        return function(*args, **keywords)

    return checked
