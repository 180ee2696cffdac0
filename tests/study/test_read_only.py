"""Where nothing can be written: what only reads works, what must write says so in one clear error."""

import contextlib
import errno
import os
import subprocess
import tempfile

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands.cli import main
from inferkit.commands.grid import explore
from inferkit.errors import DiskFullError, ReadOnlyError, StoreError
from inferkit.store import Rows, Simulations, Store, compact, files


@contextlib.contextmanager
def nothing_written(path):
    """Root may write anywhere, so a read-only mount stands in for folders without permission."""
    mounted = not subprocess.run(["mount", "--bind", path, path], capture_output=True).returncode
    folders = [path, *(p for p in path.rglob("*") if p.is_dir())]
    try:
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        else:
            for folder in folders:
                folder.chmod(0o500)
            if os.access(path, os.W_OK):
                pytest.skip("this user can write everywhere and cannot mount")
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", path], check=True)
        else:
            for folder in folders:
                folder.chmod(0o700)


def study(path, n=600, **options):
    task = ik.simulator("gaussian_linear", dim=2)
    told = {"quiet": False, "executor": ik.executor("local", workers=0), **options}
    return ik.Study(task, task.build().prior(), path=path, seed=3, observed=task.build().observation(1),
                    features=lambda x: x["x"] * 2.0, estimator="abc-rejection", **told)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was simulated, fitted and checked."""
    path = tmp_path_factory.mktemp("finished") / "run"
    one = study(path, quiet=True)
    one.simulate(600)
    one.fit()
    one.check()
    return path


@pytest.fixture
def read_only(finished):
    with nothing_written(finished):
        yield finished


def test_what_reads_a_run_works(read_only, capsys):
    one = study(read_only)
    assert one.simulate(600).done == 0
    assert len(one.simulations) == 600 and len(one.simulations.x()["x"]) == 600
    posterior = one.fit()
    assert posterior.sample(100).values.shape == (100, 2)
    checks = one.check()
    assert checks["predictive"].status != "NOT RUN"  # its simulations were stored before
    assert checks["sbc"].status != "NOT RUN"
    assert "the checks are not kept: cannot write" in capsys.readouterr().err
    assert one.checks().status == checks.status
    assert one.try_out(100).status != "FAIL"
    assert len(ik.open(read_only, trust=True).simulations) == 600
    assert repr(one)


def test_what_must_write_says_so(read_only, tmp_path):
    one = study(read_only, quiet=True)
    one.fit()
    for write in (lambda: one.simulate(700), lambda: one.report(), lambda: one.fit(refit=True),
                  lambda: one.fit("abc-smc"), lambda: one.fit().save(read_only / "elsewhere"),
                  lambda: one.run_round(np.zeros((3, 2)), "new"),
                  lambda: study(read_only / "new" / "run").store):
        with pytest.raises(ReadOnlyError, match="cannot write .*run"):
            write()
    file = one.report(tmp_path / "report.html")
    assert "<html" in file.read_text()


def test_predictive_simulations_that_cannot_be_stored_are_not_run(tmp_path):
    one = study(tmp_path / "run", quiet=True)
    one.simulate(600)
    one.fit()
    with nothing_written(one.path):
        checks = one.check()
    assert checks["predictive"].status == "NOT RUN" and "cannot write" in checks["predictive"].evidence
    assert checks["sbc"].status != "NOT RUN"


def test_only_a_part_of_the_run_cannot_be_written(tmp_path):
    one = study(tmp_path / "run", quiet=True)
    one.simulate(600)
    one.fit()
    for name in ("rounds", "shards"):
        (one.path / name).mkdir(exist_ok=True)
        with nothing_written(one.path / name):
            assert one.check()["predictive"].status == "NOT RUN"
    with nothing_written(one.path / "shards"), pytest.raises(ReadOnlyError, match="shards"):
        one.simulate(700)
    assert one.simulate(700).done == 100


def test_workers_that_cannot_store_say_so(tmp_path):
    one = study(tmp_path / "run", quiet=True, executor=ik.executor("local", workers=1))
    one.simulate(20)
    with nothing_written(one.path / "shards"), pytest.raises(ReadOnlyError, match="shards"):
        one.simulate(100)


def test_commands_that_read(read_only, capsys):
    for command in (["status", str(read_only)], ["replay", f"{read_only}:5"]):
        assert main(command) == 0, capsys.readouterr()
    assert "600 rows" in capsys.readouterr().out.replace("600 of 600", "600")


@pytest.mark.parametrize("command", [["report", "RUN"], ["report", "RUN", "--figures"],
                                     ["resume", "RUN"], ["resume", "RUN", "-n", "900"],
                                     ["init", "RUN/study/new.toml"],
                                     ["plugins", "new", "mine", "--into", "RUN"],
                                     ["demo", "lif", "--path", "RUN/demo"]])
def test_commands_that_write_say_so(read_only, capsys, command):
    assert main([part.replace("RUN", str(read_only)) for part in command]) == 2
    told = capsys.readouterr().err
    assert "inferkit: cannot write" in told and "try:" in told and "Traceback" not in told


def test_compare_scores_fits_of_a_run_that_is_read_only(read_only, capsys):
    assert main(["compare", str(read_only), "abc-rejection"]) == 0
    told = capsys.readouterr()
    assert "the picture is not kept: cannot write" in told.out
    assert "the score is not kept: cannot write" in told.err


def test_a_sweep_is_read(tmp_path, capsys):
    def product(theta, rng):
        return theta["a"] * theta["b"]

    asked = {"path": tmp_path / "sweep", "quiet": True, "executor": ik.executor("local", workers=0)}
    grid = {"a": np.arange(3.0), "b": np.arange(4.0)}
    before = explore(product, grid, **asked)
    with nothing_written(tmp_path / "sweep"):
        again = explore(product, grid, **asked)
        for write in (again.save, again.picture):
            with pytest.raises(ReadOnlyError, match="cannot write .*sweep"):
                write()
    assert np.array_equal(again.values("x"), before.values("x"))


def test_upkeep_of_a_store_that_is_read_only(tmp_path):
    store = Store.create(tmp_path / "run", {"seed": 1})
    for k in range(70):
        store.write(Rows(0, np.array([k]), np.zeros(1, np.uint8), np.zeros(1, np.float32),
                         {"a": np.zeros(1)}, {"x": np.zeros(1)}))
    (store.folder / "r0000-000000000999-000001-ab.safetensors").write_bytes(b"damaged")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (store.path / f".tmp-{os.uname().nodename}-{gone.pid}-ab").touch()
    with nothing_written(store.path):
        for write in (lambda: compact(store), store.heal, store.tidy):
            with pytest.raises(ReadOnlyError, match="cannot write"):
                write()
        assert len(Simulations(store, 0, shards=store.shards())) == 70


def test_no_temporary_folder(tmp_path, monkeypatch):
    """tempfile says of no usable folder that it is not found."""
    def none(*args, **told):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    one = study(tmp_path / "run", quiet=True, executor=ik.executor("local", workers=1))
    for start in (lambda: one.simulate(20), lambda: one.try_out(20)):
        with pytest.raises(ReadOnlyError, match="no temporary folder .* No usable") as told:
            start()
        assert "TMPDIR" in str(told.value)
    full(monkeypatch, "safetensors")
    with pytest.raises(DiskFullError, match="temporary folder takes nothing"):
        one.store.write(Rows(0, np.array([0]), np.zeros(1, np.uint8), np.zeros(1, np.float32),
                             {"theta": np.zeros((1, 2))}, {"x": np.zeros((1, 2))}))


def full(monkeypatch, only, code=errno.ENOSPC):
    """A disk that takes no file whose name contains `only`."""
    write = files._write_atomic

    def refuse(path, pieces):
        if only in path.name:
            raise OSError(code, os.strerror(code))
        write(path, pieces)

    monkeypatch.setattr(files, "_write_atomic", refuse)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_a_later_stage(tmp_path, monkeypatch, code, capsys):
    one = study(tmp_path / "run")
    one.simulate(600)
    full(monkeypatch, "posterior.json", code)
    with pytest.raises(DiskFullError, match="no space left to write .*posterior.json"):
        one.fit()
    assert one.posterior.sample(10).values.shape == (10, 2)  # what was learned is not lost
    full(monkeypatch, ".json", code)
    one.check()
    assert "the checks are not kept: no space left" in capsys.readouterr().err
    full(monkeypatch, ".html", code)
    with pytest.raises(DiskFullError, match=r"no space left to write .*report.html"):
        one.report()
    assert isinstance(DiskFullError("x"), StoreError)
