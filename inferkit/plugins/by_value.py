"""The user's own code by value: what another process could not import, as bytes or in a run's file.

A file is one line of JSON (the Python that wrote it, the code's text) with a pickle behind.  Reading it
runs what it holds, so it is read only where the run is trusted.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from inferkit.errors import ConfigError, StoreError
from inferkit.plugins.own_code import own_modules

ENDING = ".pickle"


def dumps(thing: Any, code: Any) -> bytes:
    """`thing` as bytes, with the modules of its `code` that are on this machine only."""
    import cloudpickle

    by_value = own_modules(code)
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(thing)
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)


def loads(data: bytes) -> Any:
    import pickle

    try:
        return pickle.loads(data)
    except (ImportError, AttributeError) as cause:
        raise ConfigError(f"your own code does not run in this environment: {cause}",
                          fix="pip install there what it imports") from cause


def packed(thing: Any, code: Any, text: str) -> bytes:
    """What a file holds."""
    head = {"python": _python(), "code": text}
    return json.dumps(head).encode() + b"\n" + dumps(thing, code)


def read(file: Path) -> tuple[Any, str]:
    """The thing that a file holds, and its code's text; this runs code."""
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        told = json.loads(head)
        text, python = str(told["code"]), str(told["python"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise StoreError(f"{file}, code of your own, cannot be read: {cause}",
                         fix="run the script that wrote it again: what is stored is not repeated"
                         ) from cause
    if python != _python():
        raise StoreError(f"{file}, code of your own, was written by Python {python}, and this is "
                         f"{_python()}", fix="run the script that wrote it again, or that Python")
    return loads(data), text


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
