"""Sweeps: independent studies as jobs; failures are data; what is finished is not repeated."""

import os

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands import sweep
from inferkit.errors import ConfigError, StoreError

STUDY = """
seed = 1
simulations = 200
observed = {theta = {theta = [0.3, -0.2]}, seed = 5}
estimator = "abc-rejection"
[simulator]
name = "two_moons"
[prior]
theta = {family = "normal", loc = 0.0, scale = 1.0, shape = [2]}
"""


def one(seed, k, path):
    path.mkdir(parents=True, exist_ok=True)
    with (path / "runs").open("a") as f:
        f.write("x")
    if k == 3:
        raise ValueError("three is too many")
    if k == 4:
        os._exit(3)
    return {"value": seed * k, "list": np.arange(2), "nan": float("nan")}


def test_a_grid_of_functions(tmp_path):
    grid = {"seed": [1, 2], "k": [1, 2, 3, 4]}
    table = sweep.run(one, grid, path=tmp_path / "s", executor=ik.executor("local", workers=2),
                      quiet=True)
    assert [(r["seed"], r["k"]) for r in table.rows] == [(s, k) for s in (1, 2) for k in (1, 2, 3, 4)]
    columns = table.to_table()
    assert columns["status"] == ["ok", "ok", "exception", "crash"] * 2
    assert columns["value"] == [1, 2, None, None, 2, 4, None, None]
    assert table.rows[0]["list"] == [0, 1]
    assert "three is too many" in table.failed[0]["message"] and "three is too" in str(table)


def test_what_is_finished_is_not_repeated(tmp_path):
    def go(grid, **options):
        return sweep.run(one, grid, path=tmp_path / "s", quiet=True, **options)

    first = go({"seed": [1], "k": [1, 3]})
    grown = go({"seed": [1, 2], "k": [1, 3]})
    runs = [len((tmp_path / "s" / sweep.folder({"seed": s, "k": k}) / "runs").read_text())
            for s in (1, 2) for k in (1, 3)]
    assert runs == [1, 1, 1, 1] and grown.rows[:2] == first.rows
    again = go([{"seed": 1, "k": 3}], again=True)
    assert again.rows[0]["status"] == "exception" and len(again.rows) == 1
    assert len((tmp_path / "s/seed=1,k=3/runs").read_text()) == 2
    assert go({"seed": [1], "k": [1, 3]}, again=True).rows[0] == first.rows[0]


def test_changed_code_is_refused(tmp_path):
    sweep.run(one, [{"seed": 1, "k": 1}], path=tmp_path, quiet=True)
    with pytest.raises(StoreError, match="code"):
        sweep.run(lambda seed, k, path: 1, [{"seed": 1, "k": 1}], path=tmp_path, quiet=True)


def test_a_study_file(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    table = sweep.run(file, {"seed": [1, 2], "estimator.accept": [0.1, 0.2, 7.0]},
                      path=tmp_path / "s", executor=ik.executor("local", workers=2), quiet=True)
    assert [r["status"] for r in table.rows] == ["ok", "ok", "exception"] * 2, table
    assert table.rows[0]["simulations"] == 200
    assert table.rows[0]["check.sbc"] in ("PASS", "WARN", "FAIL", "NOT RUN")
    assert (tmp_path / "s/seed=1,estimator.accept=0.1/study.toml").exists()


@pytest.mark.parametrize("grid", [{"a": "xy"}, {"a": 3}, [{"a": object()}]])
def test_wrong_grids(tmp_path, grid):
    with pytest.raises(ConfigError, match="sweep"):
        sweep.run(one, grid, path=tmp_path, quiet=True)


def test_long_and_odd_names_make_folders():
    assert sweep.folder({"a": 1, "b": "x"}) == "a=1,b=x"
    odd = sweep.folder({"a": "../../etc", "b": [1, 2] * 60})
    assert "/" not in odd and len(odd) < 120
    assert odd != sweep.folder({"a": ".._.._etc", "b": [1, 2] * 60})


def test_a_function_that_cannot_leave_this_process_is_told(tmp_path):
    import threading

    lock = threading.Lock()

    def locked(seed, path):
        with lock:
            return {"x": seed}

    with pytest.raises(ConfigError, match="cannot be sent to worker processes: cannot pickle"):
        sweep.run(locked, {"seed": [1]}, path=tmp_path / "s", quiet=True,
                  executor=ik.executor("local", workers=1))
