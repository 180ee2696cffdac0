"""Damage, strangers and other processes: told to whoever meets them, never an answer in silence."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import InferkitError, StoreError
from inferkit.estimate import Plan
from inferkit.store import Simulations, Store, compact


def model(theta, rng):
    return {"x": theta["a"] + 0.1 * rng.standard_normal(3)}


def peak(x):
    return {"peak": x["x"].max(axis=1)}


def make(path, **settings):
    given = {"features": [peak], "observed": {"x": np.array([0.4, 0.5, 0.6])}, "seed": 1, **settings}
    return ik.Study(model, ik.Prior({"a": ik.Uniform(0, 1)}), path=path, quiet=True,
                    estimator=ik.estimator("abc-rejection"),
                    executor=ik.executor("local", workers=0), **given)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with everything in it: shards, features, a fit, a round, checks, a report."""
    path = tmp_path_factory.mktemp("whole") / "run"
    study = make(path)
    study.simulate(300)
    study.fit()
    study.report()
    return path


def flip(file, rng):
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(data))


def truncate(file, rng):
    data = file.read_bytes()
    file.write_bytes(data[: rng.integers(len(data))])


def swap(file, rng):
    """Another file of the run stands in its place."""
    others = sorted(f for f in file.parents[0].rglob("*") if f.is_file() and f != file)
    if others:
        shutil.copy(others[rng.integers(len(others))], file)


ANSWER = 200


def answer(path):
    """What a reader is told: the draws, of a fit that is loaded and of one that is made again."""
    study = make(path)
    loaded = study.fit().sample(ANSWER).values
    again = study.fit(refit=True).sample(ANSWER).values
    return loaded, again


def test_damage_is_an_error_or_does_no_harm(run, tmp_path):
    rng = np.random.default_rng(7)
    right, _ = answer(run)
    told = {"error": 0, "unharmed": 0}
    files = sorted(f.relative_to(run) for f in run.rglob("*") if f.is_file() and f.stat().st_size)
    assert {f.parts[0] for f in files} >= {"shards", "fits", "rounds", "derived", "checks"}
    for k, name in enumerate(files * (240 // len(files) + 1)):
        copy = tmp_path / str(k)
        shutil.copytree(run, copy)
        (flip, truncate, swap)[k % 3](copy / name, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded, again = answer(copy)
        except InferkitError:
            told["error"] += 1
        else:
            assert np.array_equal(loaded, right) and np.array_equal(again, right), name
            told["unharmed"] += 1
        shutil.rmtree(copy)
    assert sum(told.values()) >= 240 and told["error"] > 20 and told["unharmed"] > 20, told


def test_a_broken_shard_stops_fit_check_and_report(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    study = make(copy)
    study.fit()
    shard = sorted((copy / "shards").glob("r0000-*"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    for act in (lambda s: s.fit(refit=True), lambda s: s.check(), lambda s: s.report()):
        fresh = make(copy)
        fresh._posterior = study.posterior
        with pytest.raises(StoreError, match="damaged.*\n.*inferkit resume"):
            act(fresh)
    mended = make(copy)
    mended.simulate(300)  # sets it aside, and runs what is missing
    assert len(mended.simulations) == 300 and (copy / "damaged").exists()


def test_a_flip_in_the_parameters_is_found_though_features_are_cached(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    shard = sorted((copy / "shards").glob("r0000-*"))[0]
    data = bytearray(shard.read_bytes())
    length = int.from_bytes(data[:8], "little")
    at = json.loads(data[8 : 8 + length])["theta/a"]["data_offsets"][0]
    data[8 + length + at + 3] ^= 16
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="damaged"):
        make(copy).fit(refit=True)


def test_arrays_of_another_posterior_are_refused(run, tmp_path):
    other = make(tmp_path / "other", seed=2)
    other.simulate(300)
    other.fit()
    mine = shutil.copytree(next((run / "fits").iterdir()), tmp_path / "fit")
    shutil.copy(next((tmp_path / "other/fits").iterdir()) / "arrays.npz", mine)
    with pytest.raises(StoreError, match="not what posterior.json was written with"):
        ik.load(mine, features=[peak])


def test_rounds_have_a_checksum(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    plan = next((copy / "rounds").glob("*.npy"))
    data = bytearray(plan.read_bytes())
    data[-3] ^= 1
    plan.write_bytes(bytes(data))
    study = make(copy)
    study.fit()
    verdict = study.check(only=["predictive"])["predictive"]
    assert verdict.status == "NOT RUN" and "parameters of a round, is damaged" in verdict.evidence


# -- other processes --------------------------------------------------------------------------------

def test_two_processes_never_claim_one_round(tmp_path):
    """Each waits for the other to be ready, then both plan a round at once."""
    script = textwrap.dedent("""
        import sys, time, pathlib, numpy as np
        from inferkit.estimate import Plan
        from inferkit.store import Store
        path, me, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
        store = Store.create(path, {"s": 1})
        for k in range(40):
            plan = Plan(store, f"{me}-{k}")
            (path / f"{me}-{k}").touch()
            while not (path / f"{other}-{k}").exists():
                pass
            plan.write(np.full((3, 1), float(k)))
            print(plan.round)
    """)
    Store.create(tmp_path / "run", {"s": 1})
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run"), *who],
                             stdout=subprocess.PIPE, text=True) for who in ("ab", "ba")]
    claimed = [n for p in both for n in p.communicate(timeout=120)[0].split()]
    assert len(claimed) == 80 and len(set(claimed)) == 80


def test_every_path_that_simulates_holds_the_lock(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    study = make(copy)
    study.fit()
    shutil.rmtree(copy / "checks")
    shutil.rmtree(copy / "rounds")
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys; from inferkit.store import Store; from pathlib import Path\n"
         f"with Store.existing(Path({str(copy)!r})).writing():\n"
         "    print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        for act in (study.report, study.check, lambda: study.simulate(400),
                    lambda: study.run_round(np.array([[0.5]]), "tag")):
            with pytest.raises(InferkitError, match="is being written by process"):
                act()
    finally:
        holder.communicate()


# -- one observation's answer is not another's ------------------------------------------------------

def test_checks_and_report_belong_to_their_observation(tmp_path):
    study = make(tmp_path / "run")
    study.simulate(500)
    study.fit()
    usual, far = {"x": np.array([0.4, 0.5, 0.6])}, {"x": np.array([70.0, 80.0, 90.0])}
    assert study.check(usual)["misspecification"].status == "PASS"
    assert study.check(far)["misspecification"].status == "FAIL"
    page = study.report(tmp_path / "usual.html", observed=usual).read_text()
    assert '<article class="card PASS" data-check="misspecification"' in page
    page = study.report(tmp_path / "far.html", observed=far).read_text()
    assert '<article class="card FAIL" data-check="misspecification"' in page


def test_a_loaded_fit_answers_for_todays_data(tmp_path):
    first = make(tmp_path / "run", observed={"x": np.array([0.2, 0.2, 0.2])})
    first.simulate(2000)
    low = first.fit().sample(500)["a"].mean()
    second = make(tmp_path / "run", observed={"x": np.array([0.8, 0.8, 0.8])})
    high = second.fit().sample(500)["a"].mean()
    assert low < 0.3 and high > 0.6


# -- rows of other kinds ----------------------------------------------------------------------------

def shape_by_theta(theta, rng):
    return {"x": np.zeros(3 if theta["a"] < 0.1 else 5) + theta["a"]}


def type_by_theta(theta, rng):
    return {"x": np.float32(theta["a"]) if theta["a"] < 0.5 else np.float64(theta["a"])}


def own(function, path, n):
    study = ik.Study(function, ik.Prior({"a": ik.Uniform(0, 1)}), path=path, quiet=True, seed=3,
                     executor=ik.executor("local", workers=0))
    study.simulate(n)
    return study


def test_the_usual_kind_of_row_is_that_of_most(tmp_path):
    table = own(shape_by_theta, tmp_path / "run", 300).simulations
    a = table.theta["a"]
    assert np.array_equal(table.status == 0, a >= 0.1) and 10 < (a < 0.1).sum() < 60
    told = {m for m in table.messages if m}
    assert len(told) == 1 and "has length 3 where most rows have 5; if its length varies" in told.pop()


def test_types_of_numbers_may_mix(tmp_path):
    table = own(type_by_theta, tmp_path / "run", 200).simulations
    assert (table.status == 0).all() and table.x()["x"].dtype == np.float64
    a = table.theta["a"]
    assert np.allclose(table.x()["x"], np.where(a < 0.5, a.astype(np.float32), a), rtol=1e-12)


def test_compaction_changes_no_row(tmp_path):
    study = own(shape_by_theta, tmp_path / "run", 300)
    store = study.store
    everything = [s.rows() for s in store.shards()]
    before = {int(i): (int(rows.status[k]), np.asarray(rows.x["x"][k]).tobytes())
              for rows in everything for k, i in enumerate(rows.index)}
    digest = Simulations(store, 0).digest()
    assert compact(store, many=2) > 10
    after = {int(i): (int(rows.status[k]), np.asarray(rows.x["x"][k]).tobytes())
             for rows in (s.rows() for s in store.shards()) for k, i in enumerate(rows.index)}
    assert after == before and Simulations(store, 0).digest() == digest


# -- what a stranger may have put there -------------------------------------------------------------

@pytest.mark.skipif(os.name == "nt", reason="owners and modes of POSIX")
def test_a_spill_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    study = make(tmp_path / "run")
    study.simulate(50)
    store = study.store
    planted = next(store.folder.glob("*.safetensors"))
    store.spill.mkdir(mode=0o777)
    store.spill.chmod(0o777)  # anybody could have written here
    shutil.copy(planted, store.spill / "planted.safetensors")
    with pytest.raises(StoreError, match="not a private folder of yours"):
        store.adopt_spilled()
    shutil.rmtree(store.spill)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    store.spill.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="not a private folder of yours"):
        store.adopt_spilled()
    store.spill.unlink()
    store.spill.mkdir(mode=0o700)
    secret = tmp_path / "secret"
    secret.write_text("private")
    (store.spill / "link.safetensors").symlink_to(secret)
    assert store.adopt_spilled() == 0 and not (store.folder / "link.safetensors").exists()


def test_loading_runs_no_code_that_the_folder_names(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
        "def peak(x):\n    return {'peak': x['x'].max(axis=1)}\n")
    study = make(tmp_path / "run", features=[{"function": str(tmp_path / "mine.py:peak")}])
    study.simulate(200)
    study.fit()
    fit = next((tmp_path / "run/fits").iterdir())
    (tmp_path / "ran").unlink()
    code = f"import inferkit as ik; ik.load({str(fit)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "trust=True" in done.stderr and not (tmp_path / "ran").exists()
    code = f"import inferkit as ik; ik.load({str(fit)!r}, trust=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "ran").exists()


def test_status_runs_no_code_that_the_folder_names(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
        "def simulate(theta, rng):\n    return {'x': theta['a'] + rng.standard_normal(2)}\n")
    (tmp_path / "study.toml").write_text(
        'path = "run"\nsimulations = 50\n[simulator]\nfunction = "mine.py:simulate"\n'
        '[prior]\na = {family = "uniform", low = 0.0, high = 1.0}\n'
        '[executor]\nname = "local"\nworkers = 0\n')

    def inferkit(*args):
        return subprocess.run([sys.executable, "-m", "inferkit", *args], cwd=tmp_path, check=True,
                              capture_output=True, text=True).stdout

    inferkit("run", "study.toml", "--only", "simulate")
    (tmp_path / "ran").unlink()
    assert "50 of 50 rows, 50 ok" in inferkit("status", "run")
    assert not (tmp_path / "ran").exists()


def test_a_plan_is_found_again(tmp_path):
    store = Store.create(tmp_path / "run", {"s": 1})
    Plan(store, "tag").write(np.arange(4.0)[:, None])
    assert np.array_equal(Plan(store, "tag").theta, np.arange(4.0)[:, None])
    other = Plan(store, "other")
    other.write(np.zeros((1, 1)))
    assert (Plan(store, "tag").round, other.round) == (1, 2)
