"""What a run was made with: versions, machine, git state, command, times.

One line of JSON an event in `sessions.jsonl` of the run folder.  Arguments that look like secrets
are masked, and the environment is not recorded.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = "sessions.jsonl"
SECRET = re.compile(r"(token|password|passwd|secret|credential|apikey|api_key)", re.IGNORECASE)


def record(path: Path, event: str, **values: Any) -> None:
    """Append an event; a disk too full for a line of provenance stops nothing."""
    line = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **values}
    try:
        with (path / FILE).open("a") as f:
            f.write(json.dumps(line, default=str) + "\n")
    except OSError:
        pass


def events(path: Path) -> list[dict]:
    """The events of a run; a half-written last line is passed over."""
    found = []
    try:
        lines = (path / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def environment(packages: dict[str, str] | None = None) -> dict:
    """Versions and machine, as of now."""
    names = ["inferkit", "numpy", "scipy", *(packages or {})]
    return {
        "python": platform.python_version(),
        "versions": {n: version(n) for n in dict.fromkeys(names)},
        "machine": {"system": platform.platform(), "processor": platform.machine(),
                    "cores": os.cpu_count(), "memory_gb": memory_gb()},
        "git": git_state(Path.cwd()),
        "command": masked(sys.argv),
    }


def backends(*packages: str) -> dict[str, str]:
    """Packages and what they require, for `environment`: the libraries that did the work."""
    names: list[str] = []
    for package in filter(None, packages):
        names.append(package)
        try:
            needed = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        names += [re.split(r"[^\w.-]", n)[0] for n in needed if "extra ==" not in n]
    return dict.fromkeys(names, "")


def used_by(function: Any) -> list[str]:
    """The installed packages whose modules a function of the user's names (`import jax`, say)."""
    code, world = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    named = [world.get(n) for n in code.co_names] if code is not None else []
    roots = {str(getattr(v, "__name__" if isinstance(v, ModuleType) else "__module__", "") or "")
             .partition(".")[0] for v in named}
    return sorted(r for r in roots - {"builtins", "__main__", ""} if version(r) != "not installed")


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def git_state(folder: Path) -> dict | None:
    """Commit and whether files differ from it; None outside a repository or without git."""
    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True,
                              timeout=5, check=True).stdout.strip()
    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def masked(words: list[str]) -> list[str]:
    """A command line with the values of secret-looking options hidden."""
    out: list[str] = []
    hide = False
    for word in words:
        if hide:
            out.append("***")
        elif SECRET.search(word) and "=" in word:
            out.append(word.partition("=")[0] + "=***")
        else:
            out.append(word)
        hide = bool(SECRET.search(word)) and word.startswith("-") and "=" not in word
    return out
