"""Storages: folders that are read and written through .../storages/NAME/files/PATH."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

LISTING_LIMIT = 10_000


class Missing(Exception):
    """No such file: 404."""


def inside(root: Path, path: str) -> Path:
    """The file that a request names; nothing outside of the storage."""
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if ".." in parts:
        raise Missing(path)
    return root.joinpath(*parts)


def describe(root: Path, path: str) -> dict[str, Any]:
    """A file's or folder's properties, with a folder's content."""
    file = inside(root, path)
    if not file.exists():
        raise Missing(path)
    told = {**_entry(file), "metadata": {}, "_links": {}}
    if file.is_dir():
        told["content"] = {}
        for child in sorted(file.iterdir())[:LISTING_LIMIT]:
            name = "/" + child.relative_to(root).as_posix() + ("/" if child.is_dir() else "")
            told["content"][name] = _entry(child)
    return told


def _entry(file: Path) -> dict[str, Any]:
    info = file.stat()
    return {
        "isDirectory": file.is_dir(), "size": 0 if file.is_dir() else info.st_size,
        "lastAccessed": time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(info.st_mtime)),
        "owner": "demouser", "group": "demo", "permissions": "rw-",
    }


def read(root: Path, path: str, wanted: str | None) -> tuple[int, bytes]:
    """Status and content, all of it or the bytes of a Range header."""
    file = inside(root, path)
    if not file.is_file():
        raise Missing(path)
    data = file.read_bytes()
    if not wanted:
        return 200, data
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted.strip())
    if not found:
        return 200, data
    first = int(found[1])
    last = int(found[2]) if found[2] else len(data) - 1
    if first >= len(data):
        return 416, b""
    return 206, data[first : last + 1]


def write(root: Path, path: str, data: bytes) -> None:
    """As the real server does: parents are made, and the target is overwritten in place."""
    file = inside(root, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def make_folder(root: Path, path: str) -> None:
    inside(root, path).mkdir(parents=True, exist_ok=True)


def remove(root: Path, path: str) -> None:
    file = inside(root, path)
    if file == root or not file.exists():
        raise Missing(path)
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()


def rename(root: Path, source: str, target: str, copy: bool) -> None:
    old, new = inside(root, source), inside(root, target)
    if not old.exists():
        raise Missing(source)
    new.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        old.replace(new)
    elif old.is_dir():
        shutil.copytree(old, new)
    else:
        shutil.copyfile(old, new)
