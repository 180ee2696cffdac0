"""What a site answers is believed within bounds: sizes, kinds of values, characters.

A site, or somebody between, may send anything.  An answer that is larger than any sensible one is not
read to its end; a manifest's line is used once it has the kinds and ranges that it must have, so that
no number in it can make this machine loop or allocate; and text that is printed has no control
characters, which could rewrite a terminal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np

from inferkit.errors import ExecutorError

ANSWER = 32 << 20
"""Bytes of an answer that is no file."""
FILE = 256 << 20
"""Bytes of a file of unknown size: manifests, what a job printed."""
SHARD = 4 << 30
RANKS = 256  # a node
MESSAGES, LONGEST = 1000, 2000

CONTROL = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]"  # colours, moves of the cursor
                     r"|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?"  # window titles, links
                     r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Unsound(ValueError):
    """An answer that makes no sense, in plain words."""


def printable(text: str) -> str:
    """Without escape sequences and control characters; lines and tabs stay."""
    return CONTROL.sub("", text.replace("\r\n", "\n"))


class _Bounded(httpx.SyncByteStream):
    """A body that ends with an error where it is longer than it may be."""

    def __init__(self, inner: Any, most: int, url: str):
        self.inner, self.most, self.url = inner, most, url

    def __iter__(self) -> Iterator[bytes]:
        taken = 0
        for part in self.inner:
            taken += len(part)
            if taken > self.most:
                raise ExecutorError(
                    f"{self.url} answers with more than {self.most >> 20} MB, and was not read on",
                    fix="look at it with another client; what is stored is not lost")
            yield part

    def close(self) -> None:
        self.inner.close()


def bound(response: httpx.Response) -> None:
    """A client's response hook: no body is read beyond its bound (`most` of the request, or ANSWER)."""
    most = response.request.extensions.get("most", ANSWER)
    response.stream = _Bounded(response.stream, most, str(response.request.url.copy_with(query=None)))


def table(told: Any, what: str) -> dict:
    """An answer that must be a table."""
    if not isinstance(told, dict):
        raise Unsound(f"{what} is {type(told).__name__}, not a table")
    return told


def line(told: Any, index: np.ndarray, nodes: int) -> dict:
    """A manifest's line, checked: `index` are the rows of its job, which runs on so many nodes."""
    kind = table(told, "a manifest's line").get("kind")
    if kind == "begin":
        whole(told, "ranks", 1, RANKS * nodes)
        whole(told, "workers", 0, 1 << 20)
    elif kind == "shard":
        name = told.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"shards/r[\w-]+\.safetensors", name):
            raise Unsound(f"a shard is called {str(name)[:80]!r}")
        whole(told, "size", 1, SHARD)
        if not re.fullmatch(r"[0-9a-f]{64}", str(told.get("sha256"))):
            raise Unsound(f"{name} has no SHA-256")
        ranges(told.get("rows"), index, name)
        seconds = told.get("seconds")
        if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
            raise Unsound(f"{name} took {str(seconds)[:40]} seconds")
        counts = told.get("counts")
        if not isinstance(counts, dict) or not all(
                isinstance(v, int) and 0 <= v <= len(index) for v in counts.values()):
            raise Unsound(f"{name} counts no rows by status")
        messages = told.get("messages")
        if not isinstance(messages, list):
            raise Unsound(f"{name} has no list of messages")
        told = {**told, "messages": [str(m)[:LONGEST] for m in messages[:MESSAGES]]}
    elif kind not in ("end", "error"):
        raise Unsound(f"a manifest's line is of kind {str(kind)[:40]!r}")
    return told


def whole(told: dict, name: str, low: int, high: int) -> None:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Unsound(f"{name} is {str(value)[:40]}, not a whole number from {low} to {high:,}")


def ranges(told: Any, index: np.ndarray, name: str) -> None:
    """Refuse ranges of rows that are none, or not among those of the job, before any is made."""
    low, high = (int(index.min()), int(index.max()) + 1) if len(index) else (0, 0)
    left = len(index)
    for pair in told if isinstance(told, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2
                and all(isinstance(v, int) and not isinstance(v, bool) for v in pair)):
            raise Unsound(f"the rows of {name} are no ranges")
        left -= pair[1] - pair[0]
        if not low <= pair[0] < pair[1] <= high or left < 0:
            raise Unsound(f"{name} holds rows that its job was not given")
