"""A run meets another version of the user's code: it is shown, accepted, or the run begins anew."""

import subprocess
import sys

import pytest

import inferkit as ik
from inferkit import provenance
from inferkit.errors import SimulatorError, StoreError
from inferkit.plugins.own_code import import_function
from inferkit.store import Simulations
from inferkit.store.belonging import edits

MODEL = """
SCALE = 2.0

def simulate(theta, rng):
    if theta["a"] > 0.5:
        raise ValueError("no such state")
    return SCALE * theta["a"] + rng.normal()
"""
WORKS = MODEL.replace("theta[\"a\"] > 0.5", "theta[\"a\"] > 5")


def study(tmp_path, model=MODEL, low=0.0, **options):
    (tmp_path / "model.py").write_text(model)
    function = import_function("model.py:simulate", tmp_path)
    return ik.Study(function, ik.Prior({"a": ik.Uniform(low, 1.0)}), path=tmp_path / "run", quiet=True,
                    executor=ik.executor("local", workers=0), **options)


def test_a_change_is_shown_and_may_be_accepted(tmp_path):
    study(tmp_path).simulate(40)
    edited = MODEL.replace("SCALE * theta", "theta").replace("+ rng", "* SCALE + rng")
    with pytest.raises(StoreError) as error:
        study(tmp_path, edited).simulate(60)
    lines = str(error.value).splitlines()
    assert "    -    return SCALE * theta['a'] + rng.normal()" in lines
    assert "    +    return theta['a'] * SCALE + rng.normal()" in lines
    assert "accept_code=True" in lines[-1] and "--accept-code" in lines[-1]
    accepted = study(tmp_path, edited, accept_code=True)
    assert accepted.simulate(60).before == 40
    assert study(tmp_path, edited).simulate(80).before == 60  # once is enough
    assert study(tmp_path).simulate(80).done == 0  # and the first version still belongs
    with pytest.raises(StoreError, match=r"\+SCALE = 3.0"):
        study(tmp_path, edited.replace("SCALE = 2", "SCALE = 3")).simulate(80)
    (told,) = [e for e in provenance.events(tmp_path / "run") if e["event"] == "accept-code"]
    assert any(line.startswith("+") for line in told["changed"]) and told["was"] != told["now"]
    codes = [e["code"] for e in provenance.events(tmp_path / "run") if e["event"] == "simulate"]
    assert codes == [told["was"], told["now"], told["now"], told["was"]]


def test_accepting_code_accepts_nothing_else(tmp_path):
    study(tmp_path).simulate(20)
    with pytest.raises(StoreError, match="seed: was 0, now 4"):
        study(tmp_path, WORKS, accept_code=True, seed=4).simulate(20)


def test_a_comment_needs_no_word(tmp_path):
    study(tmp_path).simulate(20)
    assert study(tmp_path, MODEL.replace("def", "# the model\ndef")).simulate(20).done == 0


def test_failures_alone_run_again(tmp_path):
    first = study(tmp_path)
    first.simulate(60)
    failed = int((first.simulations.status != 0).sum())
    before = {i: x for i, x in zip(first.simulations.ok.index, first.simulations.ok.x()["x"])}
    assert 0 < failed < 60
    assert first.simulate(60, retry_failed=True).done == failed  # they fail again
    mended = study(tmp_path, WORKS, accept_code=True)
    assert mended.simulate(60, retry_failed=True).done == failed
    assert (mended.simulations.status == 0).all() and len(mended.simulations) == 60
    after = dict(zip(mended.simulations.index, mended.simulations.x()["x"]))
    assert {i: after[i] for i in before} == before  # what had succeeded is as it was
    assert mended.simulate(60, retry_failed=True).done == 0


def test_a_fit_learns_from_what_was_run_again(tmp_path):
    study(tmp_path).simulate(300)
    first = study(tmp_path).fit()
    mended = study(tmp_path, WORKS, accept_code=True)
    assert mended.fit().info["fit"] == first.info["fit"]
    mended.simulate(300, retry_failed=True)
    assert mended.fit().info["simulations"] > first.info["simulations"] + 50


@pytest.mark.parametrize("change", [{"model": WORKS}, {"low": 0.0}])
def test_where_all_failed_the_run_begins_anew(tmp_path, change, capsys):
    with pytest.raises(SimulatorError, match="begins anew"):
        study(tmp_path, MODEL, low=0.6).simulate(100)
    rows = len(Simulations(study(tmp_path, MODEL, low=0.6).store, 0))
    mended = study(tmp_path, **{"low": 0.6, **change})
    mended.reporter.quiet = False
    assert mended.simulate(100).done == 100
    assert f"all of its {rows} stored simulations had failed" in capsys.readouterr().err
    aside = study(tmp_path, MODEL, low=0.6)
    aside.path = tmp_path / "run/before/1"  # a run like others
    assert len(aside.simulations) == rows and not (aside.simulations.status == 0).any()


def test_one_that_succeeded_does_not_make_way(tmp_path):
    study(tmp_path).simulate(30)
    with pytest.raises(StoreError, match="another version of your code"):
        study(tmp_path, WORKS).simulate(30)


def test_a_run_without_rows_makes_way(tmp_path):
    _ = study(tmp_path).store
    assert study(tmp_path, WORKS, seed=5).simulate(5).done == 5


def test_a_fit_or_jobs_elsewhere_do_not_make_way(tmp_path):
    _ = study(tmp_path).store
    (tmp_path / "run/unicore").mkdir()
    with pytest.raises(StoreError, match="another version"):
        study(tmp_path, WORKS).simulate(5)
    (tmp_path / "run/unicore").rmdir()
    (tmp_path / "run/fits/nuts-1").mkdir(parents=True)
    (tmp_path / "run/fits/nuts-1/posterior.json").write_text("{}")
    with pytest.raises(StoreError, match="another study"):
        study(tmp_path, seed=5).simulate(5)


def test_the_command_line_accepts_and_retries(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "s.toml").write_text(
        'simulations = 40\npath = "run"\n[simulator]\nfunction = "model.py:simulate"\n[prior]\n'
        'a = {family = "uniform", low = 0, high = 1}\n[executor]\nname = "local"\nworkers = 0\n')

    def run(*words):
        return subprocess.run([sys.executable, "-m", "inferkit", "run", "s.toml", "--only", "simulate",
                               *words], cwd=tmp_path, capture_output=True, text=True)

    assert run().returncode == 0
    (tmp_path / "model.py").write_text(WORKS)
    refused = run()
    assert refused.returncode == 2 and "+    if theta['a'] > 5:" in refused.stderr
    mended = run("--accept-code", "--retry-failed")
    assert mended.returncode == 0 and "40 of 40 (" in mended.stderr and "failed" not in mended.stderr


def test_a_change_is_shown_as_a_short_difference():
    long = "def f(t):\n" + "".join(f"    x{i} = t + {i}\n" for i in range(80))
    assert edits(long, long.replace("t + 40", "t + 41")) == [
        "     x39 = t + 39", "-    x40 = t + 40", "+    x40 = t + 41", "     x41 = t + 41"]
    whole = edits(long, "def g(t): return 1\n")
    assert len(whole) == 25 and whole[-1].endswith("lines more")
