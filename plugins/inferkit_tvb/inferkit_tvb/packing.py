"""What a setting names by file is read when the study is made: it travels, and its change is seen.

A model or coupling of one's own, "mine.py:Mine", becomes that line followed by the file's text.  Where
the rows run the text is a file again, in the cache folder, as numba and readers of source want one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import tempfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from inferkit.errors import ConfigError


def cache_folder() -> Path:
    root = os.environ.get("INFERKIT_CACHE") or Path.home() / ".cache" / "inferkit"
    return Path(root) / "tvb"


def array(value: Any, what: str) -> np.ndarray:
    """Numbers, or a file of them."""
    if not isinstance(value, (str, Path)):
        return np.asarray(value, float)
    path = of_tvb_data(Path(value), "regionMapping")
    if not path.exists():
        raise ConfigError(f"{what}: there is no file {path}")
    try:
        if path.suffix == ".npy":
            return np.load(path)
        rows = [line for line in path.read_text().splitlines() if line.strip() and line[:1] != "#"]
        return np.array([re.split(r"[,;\s]+", line.strip(" ,;\t\r")) for line in rows], float).squeeze()
    except ValueError as cause:
        raise ConfigError(f"{what}: {path} holds no table of numbers: {cause}") from cause


def of_tvb_data(path: Path, folder: str) -> Path:
    """A file that is there, or else the one of tvb-data, where that is installed and has it."""
    spec = None if path.exists() else find_spec("tvb_data")
    there = [Path(p) / folder / path.name for p in (spec and spec.submodule_search_locations) or ()]
    return there[0] if there and there[0].exists() else path


def whole(name: str) -> str:
    """The path of a file that is there, or a file of tvb-data by name (TVB takes others for these)."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def listed(value: Any, what: str) -> Any:
    """The numbers of a file as lists; what is no file stays."""
    return array(value, what).tolist() if isinstance(value, (str, Path)) else value


def carried(kind: str, name: str) -> str:
    """A class by file with the file's text; other names stay."""
    where, _, attribute = name.partition("\n")[0].rpartition(":")
    if not where.endswith(".py") or "\n" in name:
        return name
    try:
        return f"{Path(where).name}:{attribute}\n{Path(where).read_text()}"
    except OSError as cause:
        raise ConfigError(f"{kind}: the file {where} cannot be read: {cause.strerror}") from cause


def called(name: str) -> str:
    """The name without the text that it carries."""
    return name.partition("\n")[0]


@lru_cache(32)
def module(carried_name: str) -> ModuleType:
    """The module whose text is carried, run once a process."""
    head, _, text = carried_name.partition("\n")
    file = head.rpartition(":")[0]
    digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    try:
        folder = cache_folder() / "models" / digest
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="inferkit-tvb-"))
    path = folder / file
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as new:
            new.write(text)
        Path(new.name).replace(path)  # whole, whoever else writes it
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
