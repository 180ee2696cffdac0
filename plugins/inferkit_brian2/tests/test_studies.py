"""Studies end to end: from a file, resumed, in workers, on Dask, through the node's command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from neurons import lif, membrane

import inferkit as ik

PRIOR = {"tau": ik.Uniform(5, 30, unit="ms"), "sigma": ik.Uniform(1, 3, unit="mV")}


def study(folder, executor=None, n=60):
    made = ik.Study(
        membrane(),
        ik.Prior(PRIOR),
        path=folder,
        seed=4,
        quiet=True,
        features=["stats"],
        executor=executor or ik.executor("local", workers=0),
    )
    made.simulate(n)
    return made


def test_every_executor_gives_the_same_bytes(tmp_path):
    pytest.importorskip("inferkit_dask")
    here = study(tmp_path / "a").simulations
    for name, executor in (
        ("local", ik.executor("local", workers=2)),
        ("dask", ik.executor("dask", workers=1)),
    ):
        there = study(tmp_path / name, executor).simulations
        assert there.digest() == here.digest()
        notes = {
            n
            for e in map(json.loads, (tmp_path / name / "sessions.jsonl").read_text().splitlines())
            for n in e.get("notes", ())
        }
        assert len(notes) == 1 and notes.pop().startswith("engine cpp")
    study(tmp_path / "b", n=23)
    assert study(tmp_path / "b").simulations.digest() == here.digest()  # in two goes


@pytest.mark.parametrize("compiler", [True, False])
def test_the_command_of_a_batch_job(tmp_path, compiler):
    """What a site's node runs; one without a compiler computes the same, and says so."""
    from inferkit.data import Chunk
    from inferkit.simulate import node
    from inferkit.store import Shard

    here = study(tmp_path / "a", n=20)
    theta = {k: v[np.argsort(here.simulations.index)] for k, v in here.simulations.theta.items()}
    folder = tmp_path / "job"
    folder.mkdir()
    for name, data in node.write_batch(
        here.running.job(), Chunk("c", 0, np.arange(20), theta), workers=1
    ).items():
        (folder / name).write_bytes(data)
    environment = dict(os.environ) if compiler else {**os.environ, "PATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-m", "inferkit.simulate.node", str(folder / node.JSON)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert told.returncode == 0, told.stderr
    shards = [Shard(f) for f in (folder / "shards").glob("*.safetensors")]
    index = np.concatenate([s.tensor("index") for s in shards])
    v = np.concatenate([s.tensor("x/v") for s in shards])[np.argsort(index)]
    expected = here.simulations.x()["v"][np.argsort(here.simulations.index)]
    assert len(index) == 20
    if compiler:
        assert v.tobytes() == expected.tobytes()
    else:
        np.testing.assert_allclose(v, expected, atol=1e-9)
        assert "engine numpy" in told.stdout and "no C++ compiler" in told.stdout


TOML = """
simulations = 40
seed = 3
features = ["spike_count", {name = "isi", which = ["mean"]}]
observed = {theta = {tau = 12.0}, seed = 1}
path = "run"
[simulator]
name = "brian2"
equations = "lif.eqs"
threshold = "v > -50*mV"
reset = "v = EL"
refractory = "2 ms"
method = "exact"
namespace = {EL = "-65 mV", R = "100 Mohm"}
parameters = {tau = "10 ms"}
initial = {v = "EL"}
inputs = {I = {steps = ["0.25 nA"], onset = "5 ms"}}
duration = "60 ms"
[prior]
tau = {family = "uniform", low = 5.0, high = 30.0, unit = "ms"}
[executor]
name = "local"
workers = 0
"""


def test_a_study_file(tmp_path):
    (tmp_path / "lif.eqs").write_text("dv/dt = (EL - v + R*I) / tau : volt (unless refractory)\n")
    (tmp_path / "study.toml").write_text(TOML)
    command = [sys.executable, "-m", "inferkit"]
    for words in (["run", "study.toml"], ["resume", "run"]):
        told = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr + told.stdout
    assert list(Path(tmp_path / "run/fits").iterdir()) and (tmp_path / "run/report.html").exists()
    told = subprocess.run([*command, "replay", "run:7"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0 and "differs" not in told.stdout


def test_efel(tmp_path):
    pytest.importorskip("efel")
    component = lif(
        threshold="v > -50*mV",
        reset="v = EL",
        parameters={"tau": "10 ms", "R": "100 Mohm"},
        inputs={"I": {"steps": ["0.25 nA"], "onset": "5 ms"}},
        reduce=[
            {
                "name": "efel",
                "output": "v",
                "which": ["voltage_base"],
                "stim_start": 5.0,
                "stim_end": 60.0,
            }
        ],
        engine="numpy",
    )
    x = component.build().simulate({}, np.zeros(1, np.uint64))
    assert abs(x["efel.voltage_base"][0] + 65) < 0.5
