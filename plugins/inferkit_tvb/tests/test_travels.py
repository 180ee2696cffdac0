"""One study on every executor, from a client that has no TVB: the same bytes, the same engine."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from inferkit_tvb import connectome

import inferkit as ik

CLIENT = """
import json, sys

class No:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tvb":
            raise ModuleNotFoundError("No module named 'tvb'")

sys.meta_path.insert(0, No())
import inferkit as ik

def study(executor, path):
    simulator = ik.simulator(
        "tvb", connectivity="mine", dt=0.1, duration=40.0, transient=5.0, noise=[0.0, 0.01],
        regional=["model.eta"], monitors=[{"kind": "TemporalAverage", "period": 1.0},
                                          {"kind": "Bold", "period": 20.0, "variables": ["r"]}])
    return ik.Study(simulator, ik.Prior({"coupling.a": ik.Uniform(0.0, 0.5),
                                         "model.eta": ik.Normal(-5.0, 0.1, shape=(6,))}),
                    features=[ik.feature("fc", output="average.r")], estimator="npe",
                    executor=executor, path=path, seed=3, quiet=True)

if __name__ == "__main__":
    name, settings, path = sys.argv[1:]
    made = study(ik.executor(name, **json.loads(settings)), path)
    assert made.built.parameters is None and made.built.outputs is None
    made.simulate(21)
    print(made.simulations.digest(), sorted(set(made.simulations.status.tolist())))
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Run the study with an executor; its connectome is a folder that only the client sees."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    c = connectome.synthetic(6)
    np.savetxt("mine/weights.csv", c.weights, delimiter=",")
    np.savetxt("mine/lengths.csv", c.lengths, delimiter=",")
    (tmp_path / "client.py").write_text(CLIENT)

    def run(name, **settings):
        told = subprocess.run([sys.executable, "client.py", name, json.dumps(settings), name],
                              capture_output=True, text=True,
                              env=os.environ | {"UNICORE_PASSWORD": "test123",
                                                "NO_PROXY": "127.0.0.1,localhost"})
        assert told.returncode == 0, told.stderr
        notes = {n for line in (tmp_path / name / "sessions.jsonl").read_text().splitlines()
                 for n in json.loads(line).get("notes", ())}
        return told.stdout.strip(), notes

    return run


@pytest.fixture
def here(tmp_path, client):
    """The digest in this process, which has TVB."""
    space = {"__name__": "client"}
    exec(CLIENT.replace("sys.meta_path.insert(0, No())", ""), space)  # noqa: S102
    study = space["study"](ik.executor("local", workers=0), tmp_path / "here")
    assert study.built.parameters
    study.simulate(21)
    return f"{study.simulations.digest()} [0]"


def same(told, here):
    said, notes = told
    assert said == here
    assert len(notes) == 1 and notes.pop().startswith("engine: compiled")


def test_local(client, here):
    same(client("local", workers=1), here)


def test_dask(client, here):
    pytest.importorskip("inferkit_dask")
    same(client("dask", workers=1), here)


def test_unicore(client, here, tmp_path_factory):
    pytest.importorskip("cryptography")
    testserver = pytest.importorskip("inferkit_unicore.testserver")
    with testserver.Site(tmp_path_factory.mktemp("site")) as site:
        same(client("unicore", site=site.https, ca=str(site.ca), username="demouser",
                    python=sys.executable, workers=0, rows_per_job=16, poll_seconds=0.1, poll_max=0.5,
                    collect_seconds=0.2), here)
        assert len(site.posted) == 2
