"""What an estimator has run on the executor: each point once, failures as rows."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.data import Dataset
from inferkit.errors import ConfigError
from inferkit.estimate import Problem
from inferkit.features import View


def fold(k, path, seen=""):
    path.mkdir(parents=True, exist_ok=True)
    with (path / "runs").open("a") as f:
        f.write("x")
    if k == 3:
        raise ValueError("three is out")
    return {"square": k * k, "file": str(path)}


@pytest.mark.parametrize("workers", [0, 2])
def test_points_run_once_on_the_executor(workers, tmp_path):
    problem = Problem(None, View([], {}), 0, tmp_path, "fit-1", None,
                      Dataset.of({"y": np.zeros((4, 1))}),
                      executor=ik.executor("local", workers=workers))
    rows = problem.each(fold, [{"k": k} for k in (1, 2, 3)])
    assert [r.get("square") for r in rows] == [1, 4, None]
    assert rows[2]["status"] == "exception" and "three is out" in rows[2]["message"]
    again = problem.each(fold, [{"k": k} for k in (1, 2, 3, 4)])
    assert [r.get("square") for r in again] == [1, 4, None, 16]
    assert all(len((tmp_path / "each" / f"k={k}" / "runs").read_text()) == 1 for k in (1, 2, 3, 4))
    with pytest.raises(ConfigError, match="no plain value"):
        problem.each(fold, [{"k": object()}])
