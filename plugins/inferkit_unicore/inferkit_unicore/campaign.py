"""What was submitted, in a file of the run's folder that outlives this process: no secrets in it.

Lines of `unicore/campaign.jsonl`: `intent` (before a job is posted: the rows it will do), `job` (its
URL), `void` (it never started, or is gone), `done` (what it did is stored).  Jobs carry the
campaign and the chunk as tags, so that the file can be lost: then the site is asked.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.plugins import schema
from inferkit.simulate.node import from_ranges, to_ranges
from inferkit.store import write_atomic
from inferkit_unicore.config import UnicoreConfig

CHUNK = "inferkit-chunk-"


def campaign_tag(key: str) -> str:
    """A study's tag: jobs of the same simulator, config, code, prior and seed serve each other."""
    return f"inferkit-{key[:24]}"


@dataclass
class Entry:
    """What is known of one chunk's job."""

    chunk: str
    round: int
    index: np.ndarray
    url: str = ""
    state: str = "intent"
    site: str = ""


class Campaign:
    """The journal of a run's jobs."""

    def __init__(self, run: Path, key: str):
        self.folder = Path(run) / "unicore"
        self.tag = campaign_tag(key)
        self.file = self.folder / "campaign.jsonl"

    def read(self) -> dict[str, Entry]:
        """Every chunk's entry; a half-written last line is left out."""
        entries: dict[str, Entry] = {}
        if not self.file.exists():
            return entries
        for line in self.file.read_text().splitlines():
            try:
                told = json.loads(line)
                event, chunk = told["event"], told["chunk"]
            except (ValueError, KeyError, TypeError):
                continue
            if event == "intent":
                entries[chunk] = Entry(chunk, told["round"], from_ranges(told["rows"]),
                                       site=told["site"])
            elif chunk in entries:
                entries[chunk].state = event
                entries[chunk].url = told.get("url", entries[chunk].url)
        return entries

    def write(self, event: str, chunk: str, **told: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        line = json.dumps({"event": event, "chunk": chunk,
                           "at": time.strftime("%Y-%m-%d %H:%M:%S"), **told}) + "\n"
        # A line that a killed process left unfinished must not swallow this one.
        fd = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            end = os.lseek(fd, 0, os.SEEK_END)
            if end and os.pread(fd, 1, end - 1) != b"\n":
                line = "\n" + line
            os.write(fd, line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)

    def intend(self, chunk: str, round: int, index: np.ndarray, site: str) -> None:
        self.write("intent", chunk, round=round, rows=to_ranges(index), site=site)

    def keep_settings(self, config: UnicoreConfig, key: str) -> None:
        """For `status`, `cancel` and `clean`, which have only the folder."""
        self.folder.mkdir(exist_ok=True)
        told = {"key": key, "config": schema.plain(config)}
        write_atomic(self.folder / "site.json", [json.dumps(told, indent=1).encode()])

    @staticmethod
    def settings(run: Path) -> tuple[UnicoreConfig, str]:
        told = json.loads((Path(run) / "unicore" / "site.json").read_text())
        return schema.build(UnicoreConfig, told["config"], "site.json"), told["key"]
