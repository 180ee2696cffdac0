"""Sweeps over a grid of parameters: what is run, resumed, counted and drawn."""

import csv

import numpy as np
import pytest
from PIL import Image

import inferkit as ik
from inferkit.commands.cli import main
from inferkit.errors import ConfigError, StoreError

GRID = {"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0]}


def model(theta, rng):
    if theta["a"] == 2.0 and theta["b"] == 10.0:
        raise ValueError("not here")
    y = theta["a"] * theta["b"] + theta["c"]
    return {"y": y + np.array([-1.0, 1.0]), "n": rng.standard_normal()}


def explore(path, **more):
    told = {"fixed": {"c": 0.5}, "executor": ik.executor("local", workers=0), "quiet": True} | more
    return ik.explore(model, told.pop("grid", GRID), path=path, **told)


def test_every_point_is_where_it_belongs(tmp_path):
    found = explore(tmp_path / "s", repeats=3)
    expected = np.outer(GRID["a"], GRID["b"]) + 0.5
    expected[1, 0] = np.nan
    np.testing.assert_allclose(found.values("y"), expected)
    assert found.failed == 3 and found.columns["n"].shape == (6, 3)
    assert len(np.unique(found.columns["n"][0])) == 3  # repeats have seeds of their own
    table = found.to_table()
    assert list(table) == ["a", "b", "n", "y"] and table["a"].tolist() == [1, 1, 2, 2, 3, 3]
    with found.save().open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["y"]) for r in rows if r["a"] == "3.0"] == [30.5, 60.5]


def test_only_what_is_missing_runs_and_another_grid_is_another_sweep(tmp_path):
    first = explore(tmp_path / "s")

    assert (explore(tmp_path / "s").columns["n"] == first.columns["n"])[first.columns["y"] > 0].all()
    with pytest.raises(StoreError, match="another study"):
        explore(tmp_path / "s", grid={"a": [1.0]}, fixed={"b": 1.0, "c": 0.0})


def test_features_are_outcomes(tmp_path):
    found = explore(tmp_path / "s", features=[lambda x: {"top": x["y"].max(1)}])
    assert list(found.columns) == ["top"] and found.values()[2, 1] == 61.5


@pytest.mark.parametrize("grid", [{"a": [1.0, 10.0, 100.0]}, GRID, {**GRID, "c": [0.0, 1.0]}])
def test_pictures(grid, tmp_path):
    fixed = {k: 1.0 for k in "abc" if k not in grid}
    with Image.open(explore(tmp_path / "s", grid=grid, fixed=fixed).picture("y")) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert picture.width > 300 and len(np.unique(pixels.reshape(-1, 3), axis=0)) >= 4


def test_from_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(theta, rng):\n    return {'y': theta['a'] ** 2}\n")
    (tmp_path / "sweep.toml").write_text(
        'path = "runs/s"\nexecutor = {name = "local", workers = 0}\n'
        '[simulator]\nfunction = "mine.py:f"\n'
        '[grid]\na = {low = 1, high = 100, steps = 3, log = true}\n')
    assert main(["sweep", "sweep.toml"]) == 0
    out = capsys.readouterr().out
    assert "y: 1 to 1e+04 over 3 points" in out and "sweep.csv" in out
    assert (tmp_path / "runs/s/sweep.png").stat().st_size > 1000


@pytest.mark.parametrize(("told", "says"), [
    ({"grid": {}}, "no points"), ({"repeats": 0}, "1 or more"), ({"fixed": {"a": 1.0}}, "both in")])
def test_errors(told, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        explore(tmp_path / "s", **told)


@pytest.mark.parametrize(("axis", "says"), [
    ("{}", "neither values"), ("{low = 0, high = 1, log = true}", "0 < low"), ("{lo = 1}", "lo")])
def test_errors_of_files(axis, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(f'[simulator]\nname = "lif"\n[grid]\ntau = {axis}\n')
    assert main(["sweep", "s.toml"]) == 2
    assert says in capsys.readouterr().err


def test_an_edited_model_is_shown_and_may_be_accepted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, file = tmp_path / "edited.py", tmp_path / "sweep.toml"
    model.write_text("def f(theta, rng):\n    return {'y': theta['a'] ** 2}\n")
    file.write_text('path = "s"\nsimulator = {function = "edited.py:f"}\ngrid = {a = [1.0, 2.0]}\n'
                    'executor = {name = "local", workers = 0}\n')
    assert main(["sweep", "sweep.toml"]) == 0
    model.write_text("def f(theta, rng):\n    return {'y': theta['a'] * theta['a']}\n")
    assert main(["sweep", "sweep.toml"]) == 2
    assert "+    return {'y': theta['a'] * theta['a']}" in capsys.readouterr().err
    assert main(["sweep", "sweep.toml", "--accept-code"]) == 0
