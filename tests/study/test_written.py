"""A run that a script began opens in the command line, and in Python again."""

import subprocess
import sys

import numpy as np
import pytest
import xarray

import inferkit as ik
from inferkit.commands import study_file
from inferkit.errors import ConfigError, InferkitError, StoreError

SCRIPT = """
import numpy as np
import inferkit as ik

LENGTH = 20

def simulate(theta, rng):
    return {"y": theta["a"] + 0.1 * rng.standard_normal(LENGTH)}

def middle(x):
    return {"middle": np.median(x["y"], axis=1)}

study = ik.Study(
    simulator=simulate, prior=ik.Prior({"a": ik.Uniform(0.0, 3.0, unit="mV")}),
    features=[middle, {"name": "stats", "which": ["mean"]}], estimator="abc-rejection",
    executor=ik.executor("local", workers=0), path="run", seed=1,
    observed={"y": np.full(LENGTH, 1.2)}, truth={"a": 1.2}, quiet=True)
study.simulate(400)
study.fit()
print("the script ran")
"""


def inferkit(*args, cwd):
    return subprocess.run([sys.executable, "-m", "inferkit", *args], cwd=cwd, capture_output=True,
                          text=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a script, which was edited and moved down since."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "mine.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "mine.py"], cwd=folder, capture_output=True, text=True)
    assert done.stdout == "the script ran\n", done.stderr
    (folder / "mine.py").write_text("# far away\n\n\ndef other():\n    return 3\n")
    return folder / "run"


def test_the_command_line_knows_a_scripts_run(run):
    status = inferkit("status", "run", cwd=run.parent)
    assert status.returncode == 0 and "400 of 400 rows" in status.stdout, status.stderr
    replayed = inferkit("replay", "run:7", cwd=run.parent)
    assert "the same, to the byte" in replayed.stdout, replayed.stderr
    more = inferkit("resume", "run", "-n", "500", cwd=run.parent)
    assert "500 of 500 (400 from before)" in more.stderr and "overall" in more.stdout
    assert "the script ran" not in more.stdout
    reported = inferkit("report", "run", "-o", "r.html", cwd=run.parent)
    assert reported.returncode == 0 and (run.parent / "r.html").stat().st_size > 10_000
    compared = inferkit("compare", "run", "abc-rejection", cwd=run.parent)
    assert compared.returncode == 0 and compared.stdout.startswith("estimator"), compared.stderr


def test_it_opens_in_python_where_it_is_trusted(run):
    with pytest.raises(StoreError, match=r"names code of your own .*\n.*trust=True"):
        ik.open(run)
    study = ik.open(run, trust=True)
    study.reporter.quiet = True
    assert study.truth == {"a": 1.2} and study.prior.units["a"] == "mV"
    fitted = study.fit()
    assert abs(fitted.sample(500)["a"].mean() - 1.2) < 0.1
    assert fitted.view.names[0] == "middle"


def test_without_code_of_ones_own_it_opens_as_it_is(tmp_path):
    task = ik.simulator("gaussian_linear")
    made = ik.Study(task, task.build().prior(), quiet=True, path=tmp_path / "r",
                    executor=ik.executor("local", workers=0), observed=np.zeros(10))
    made.simulate(50)
    again = ik.open(tmp_path / "r")
    assert again.identity == made.identity and (again.observed == 0).all()
    assert len(again.simulations) == 50


def test_a_module_of_ones_own_is_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model_of_mine.py").write_text(
        "import numpy as np\ndef both(theta, seeds):\n    return {'x': theta['a'] + 0 * seeds}\n")
    import model_of_mine

    made = ik.Study(ik.simulator(model_of_mine.both, vectorised=True, stochastic=False),
                    ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "r", quiet=True,
                    executor=ik.executor("local", workers=0))
    made.simulate(10)
    text = (tmp_path / "r/study.toml").read_text()
    assert f'function = "{tmp_path / "model_of_mine.py"}:both"' in text
    again = ik.open(tmp_path / "r", trust=True)
    assert again.simulator.spec == made.simulator.spec and again.identity == made.identity


OBSERVED = {
    "a dict": {"x": np.zeros(3)}, "an array": np.zeros(3), "several": np.zeros((4, 3)),
    "xarray": xarray.Dataset({"x": ("time", np.arange(3.0))}),
    "a list": [{"x": np.zeros(3)}, {"x": np.ones(3)}], "a set of trials": ik.Trials(np.zeros((5, 3))),
}


def three(theta, rng):
    return {"x": theta["a"] + rng.standard_normal(3)}


@pytest.mark.parametrize("kind", OBSERVED)
def test_observed_data_lie_beside(tmp_path, kind):
    trials = {"trials": 5, "features": ["trial_stats"]} if "trials" in kind else {}
    made = ik.Study(three, ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "r", quiet=True, **trials,
                    executor=ik.executor("local", workers=0), observed=OBSERVED[kind])
    made.simulate(30)
    given = made.fit()._inputs(made.observed)[0]
    again = ik.open(tmp_path / "r", trust=True).fit()
    read = again._inputs(ik.open(tmp_path / "r", trust=True).observed)[0]
    assert read.keys() == given.keys() and all((read[k] == given[k]).all() for k in given)


def test_what_cannot_be_written_down_is_told(tmp_path):
    import threading

    lock = threading.Lock()

    def locked(theta, rng):
        with lock:
            return theta["a"] + rng.normal()

    made = ik.Study(locked, ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "r", quiet=True,
                    executor=ik.executor("local", workers=0), observed=0.5,
                    log_likelihood=lambda theta, x: 0.0)
    assert made.simulate(30).done == 30 and made.fit()
    with pytest.raises(ConfigError, match="cannot be sent to worker processes: cannot pickle"):
        made.executor = ik.executor("local", workers=1)
        made.simulate(40)
    with pytest.raises(ConfigError, match="simulator.*cannot pickle.*lock") as error:
        ik.open(tmp_path / "r", trust=True)
    assert "inferkit status" in str(error.value)
    assert study_file.look(tmp_path / "r").missing["log_likelihood"] == "a function in Python"


def test_a_setting_that_toml_has_no_word_for_is_told(tmp_path, monkeypatch):
    made = ik.Study(three, ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "r", quiet=True,
                    executor=ik.executor("local", workers=0))
    monkeypatch.setattr(type(made.estimator), "to_config", lambda self: {"name": "x", "at": [None]})
    assert made.simulate(3).done == 3
    assert "NoneType" in study_file.look(tmp_path / "r").missing["estimator"]


def test_a_file_of_the_users_own_stays(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/study.toml").write_text("# mine\n")
    ik.Study(three, ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "r", quiet=True,
             executor=ik.executor("local", workers=0)).simulate(3)
    assert (tmp_path / "r/study.toml").read_text() == "# mine\n"


def test_another_python_is_told(run, tmp_path):
    from inferkit.plugins import by_value

    (file, *_) = (run / "code").glob("*.pickle")
    old = file.read_bytes().replace(b'"python": "3.', b'"python": "2.', 1)
    (tmp_path / "a.pickle").write_bytes(old)
    with pytest.raises(StoreError, match="was written by Python 2"):
        by_value.read(tmp_path / "a.pickle")
    (tmp_path / "b.pickle").write_bytes(b"x")
    with pytest.raises(InferkitError, match="cannot be read"):
        by_value.read(tmp_path / "b.pickle")
