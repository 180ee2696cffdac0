"""Whose simulations a folder holds, and what becomes of them when the study is another than it was.

`store.json` says what a run's rows are a function of: simulator, version, config, code; prior; seed.
Another study is refused with what changed.  Where that is the user's own code alone, the change is
shown, and may be accepted: each accepted version has its text in `code/`.  Where no row succeeded and
nothing was fitted, what is there moves to `before/` and the run begins anew.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inferkit import provenance
from inferkit.errors import DiskFullError, ReadOnlyError, StoreError
from inferkit.store.files import make_folder, write_atomic

FORMAT = 1
IDENTITY, BEFORE, CODE = "store.json", "before", "code"
MOVES = ("shards", "rounds", "derived", CODE, "damaged", "fits", "checks", "compare", "report.html",
         IDENTITY)
"""What makes way when a run begins anew; the identity last, for until then it is a run."""
EMPTY = (BEFORE, "lock", provenance.FILE, "study.toml", "study.folder", IDENTITY, CODE, "shards",
         "rounds", "derived")
"""What a run's folder may hold without holding anything."""
SHOWN, WIDTH = 24, 110
"""So many lines of a difference are shown, and so much of each."""


def key_of(identity: dict) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def begin(path: Path, identity: dict, code: str) -> None:
    """Write down whose simulations will be here."""
    _keep(path, identity, code)
    write_atomic(path / IDENTITY, [json.dumps(
        {"format": FORMAT, "key": key_of(identity), "identity": identity}, indent=1).encode()])


def read(path: Path) -> dict:
    """Whose simulations are here."""
    try:
        held = json.loads((path / IDENTITY).read_text())
        identity = held["identity"]
        if held["format"] != FORMAT or held["key"] != key_of(identity):
            raise ValueError("it does not match its key")
    except FileNotFoundError as cause:
        raise StoreError(f"{path} holds no run (there is no {IDENTITY} in it)",
                         fix="inferkit run study.toml") from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise StoreError(f"{path / IDENTITY} is damaged: {cause}",
                         fix="delete this one file and run again: the shards carry the key, "
                             "and are taken only if they belong to the study") from cause
    return identity


def settle(path: Path, identity: dict, code: str, accept: bool) -> bool:
    """Whether the simulations in `path` are those of a study, perhaps of an accepted version."""
    held = read(path)
    if key_of(held) == key_of(identity):
        with contextlib.suppress(ReadOnlyError, DiskFullError):  # somebody else's run is looked at
            _keep(path, identity, code)
        return True
    was, now = (_code(told) for told in (held, identity))
    if was and now and _without_code(held) == _without_code(identity):
        if not _file(path, identity).exists():
            if not accept:
                return False
            _keep(path, identity, code)
            provenance.record(path, "accept-code", was=was, now=now,
                              changed=edits(_latest(path, but=identity), code))
        return True
    return False


def refused(path: Path, identity: dict, code: str) -> StoreError:
    """The error of a study that is not the one that `path` belongs to."""
    held = read(path)
    if _code(held) and _code(identity) and _without_code(held) == _without_code(identity):
        shown = edits(_latest(path, but=identity), code) or [
            "(which version that was is not known)"]
        return StoreError(
            f"{path} holds simulations of another version of your code; since then changed:\n    "
            + "\n    ".join(shown),
            allowed="the same code; comments, docstrings, formatting and annotations do not count",
            fix="undo the change or choose a new path; if it changes no result, accept it: "
                "accept_code=True in ik.Study, --accept-code of inferkit run, resume or sweep (it is "
                "recorded)")
    return StoreError(
        f"{path} holds simulations of another study; since then changed:\n    "
        + "\n    ".join(list(differences(held, identity))[:12]),
        allowed="the same simulator, config, code, prior and seed as when it began",
        fix="undo the change, or give this study its own path; the old simulations stay")


def holds_nothing(path: Path, rows: int, succeeded: int) -> bool:
    """Whether what a folder holds may make way: failures only, or nothing at all."""
    if succeeded or any((path / "fits").glob("*/posterior.json")):
        return False
    return rows > 0 or all(p.name in EMPTY or p.name.startswith(".tmp-") for p in path.iterdir())


def make_way(path: Path) -> Path:
    """Move what a folder holds to a folder of its own in `before/`, a run like others."""
    (path / BEFORE).mkdir(exist_ok=True)
    number = 1 + len(list((path / BEFORE).iterdir()))
    aside = path / BEFORE / str(number)
    aside.mkdir()
    for name in MOVES:
        if (path / name).exists():
            (path / name).rename(aside / name)
    return aside


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What differs between two plain structures, a line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            at = f"{where}.{key}" if where else key
            if key not in old:
                yield f"{at}: now {new[key]!r}, was not there"
            elif key not in new:
                yield f"{at}: was {old[key]!r}, now gone"
            else:
                yield from differences(old[key], new[key], at)
    elif old != new:
        yield f"{where}: was {old!r}, now {new!r}"


def edits(old: str, new: str) -> list[str]:
    """What changed from one text to another, in the lines of a unified diff."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
    told = [line[:WIDTH] for line in lines if not line.startswith(("---", "+++", "@@"))]
    return told[:SHOWN] + ([f"… and {len(told) - SHOWN} lines more"] if len(told) > SHOWN else [])


def _code(identity: dict) -> str:
    """The digest of the user's own simulator."""
    told = identity.get("simulator")
    return str(told.get("code", "")) if isinstance(told, dict) else ""


def _without_code(identity: dict) -> dict:
    return {**identity, "simulator": {**identity["simulator"], "code": ""}}


def _file(path: Path, identity: dict) -> Path:
    return path / CODE / f"{_code(identity)}.txt"


def _keep(path: Path, identity: dict, code: str) -> None:
    if code and not _file(path, identity).exists():
        make_folder(path / CODE)
        write_atomic(_file(path, identity), [code.encode()])


def _latest(path: Path, but: dict) -> str:
    """The text of the version that was accepted last."""
    files = [f for f in (path / CODE).glob("*.txt") if f != _file(path, but)]
    return max(files, key=lambda f: f.stat().st_mtime).read_text() if files else ""
