"""The cache of programs: what nobody uses goes, what somebody may run stays."""

import os
import subprocess
import sys
import time

import pytest
from inferkit_brian2 import cache, compiled, resident
from neurons import lif

DAY = 86400.0


def program(base, name, days, size=10):
    folder = base / name
    folder.mkdir()
    (folder / "program.json").write_text('{"arguments": [], "results": {}}')
    (folder / "main").write_bytes(b"x" * size)
    at = time.time() - days * DAY
    os.utime(folder / "program.json", (at, at))
    return folder


def names(base):
    return {f.name for f in base.iterdir() if f.is_dir()}


def test_what_was_not_used_for_two_months_goes(tmp_path):
    for name, days in (("aa", 1), ("bb", 59), ("cc", 61)):
        program(tmp_path, name, days)
        cache.lock_of(tmp_path / name).touch()
    assert cache.prune(tmp_path) == ["cc"]
    assert names(tmp_path) == {"aa", "bb"} and not cache.lock_of(tmp_path / "cc").exists()


def test_beyond_its_size_the_longest_unused_goes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "KEEP_BYTES", 2500)
    for name, days in (("aa", 3), ("bb", 1), ("cc", 2)):
        program(tmp_path, name, days, 1000)
    assert cache.prune(tmp_path) == ["aa"]


def test_use_is_what_counts(tmp_path):
    folder = program(tmp_path, "aa", 100)
    resident.Program(folder)
    assert cache.prune(tmp_path) == []


def test_what_a_process_may_run_stays(tmp_path):
    """Also one of another process, until it ends."""
    folder = program(tmp_path, "aa", 100)
    code = (
        "import sys; from pathlib import Path; from inferkit_brian2 import cache\n"
        f"held = cache.held(Path({str(folder)!r})); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    later = time.time() + 100 * DAY
    assert cache.prune(tmp_path, now=later) == []
    other.communicate("")
    assert cache.prune(tmp_path, now=later) == ["aa"]


def test_what_is_being_built_stays_and_leftovers_go(tmp_path):
    for name, days in (("aa-x", 0.1), ("bb-x", 2)):
        (tmp_path / name).mkdir()
        at = time.time() - days * DAY
        os.utime(tmp_path / name, (at, at))
    folder = tmp_path / "cc"
    folder.mkdir()
    os.utime(folder, (0, 0))
    with cache.locked(folder):
        cache.prune(tmp_path)
        assert names(tmp_path) == {"aa-x", "cc"}


def test_a_lock_that_was_deleted_meanwhile_is_taken_anew(tmp_path):
    folder = program(tmp_path, "aa", 1)
    first = cache.held(folder)
    cache.lock_of(folder).unlink()
    with cache.locked(folder), pytest.raises(BlockingIOError):
        cache.taken(folder, cache.fcntl.LOCK_SH | cache.fcntl.LOCK_NB)
    first.close()


def test_a_program_deleted_before_it_is_used_is_built_again(monkeypatch):
    simulator = lif(duration="62 ms").build()
    simulator.prepare()
    folder, real, built = simulator.engine.program.folder, compiled.Program, []

    def gone(where):
        if not built:
            built.append(where)
            raise FileNotFoundError(where)
        return real(where)

    monkeypatch.setattr(compiled, "Program", gone)
    assert compiled.program(simulator.engine.blueprint).folder == folder and built


def test_building_prunes(monkeypatch, tmp_path):
    monkeypatch.setenv("INFERKIT_CACHE", str(tmp_path))
    program(cache.cache_folder(), "aa", 100)
    lif(duration="63 ms", engine="cpp").build().prepare()
    assert "aa" not in names(cache.cache_folder()) and len(names(cache.cache_folder())) == 1
