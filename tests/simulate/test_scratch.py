"""Temporary folders that killed runs left behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from inferkit.simulate import scratch

HOLD = ("from inferkit.simulate.scratch import Scratch; s = Scratch()\n"
        "print(s.path, flush=True); input()")


def test_a_killed_run_s_folder_is_removed_and_a_living_one_s_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def holder():
        process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "TMPDIR": str(tmp_path)})
        return process, process.stdout.readline().strip()

    (dead, gone), (living, kept) = holder(), holder()
    dead.kill()
    dead.wait()
    foreign = tmp_path / f"{scratch.PREFIX}none"  # without a lock: not known to be nobody's
    foreign.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(tmp_path / "elsewhere")
    mine = scratch.Scratch()
    left = {p.name for p in tmp_path.iterdir()}
    assert Path(gone).name not in left and Path(kept).name in left
    assert {foreign.name, mine.path.name, "elsewhere", f"{scratch.PREFIX}link"} <= left
    assert mine.path.stat().st_mode & 0o77 == 0
    mine.cleanup()
    assert not mine.path.exists()
    living.communicate("\n", timeout=30)


def test_where_files_cannot_be_locked_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "lock", lambda file, path: None)
    first, second = scratch.Scratch(), scratch.Scratch()
    assert first.path.exists() and second.path.exists()
    first.cleanup()
    second.cleanup()
