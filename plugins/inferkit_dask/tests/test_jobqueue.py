"""A batch queue: `sbatch` and `scancel` are scripts here, but the jobs and workers are real."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from inferkit_dask import clusters
from inferkit_dask.config import DaskConfig

import inferkit as ik
from inferkit.errors import ConfigError

SBATCH = """#!{python}
import os, subprocess, sys
from pathlib import Path
here = Path({folder!r})
job = subprocess.Popen(["bash", "-c", Path(sys.argv[1]).read_text()],
                       stdin=subprocess.DEVNULL, stdout=(here / "job.log").open("ab"),
                       stderr=subprocess.STDOUT, start_new_session=True)
with (here / "jobs").open("a") as f:
    f.write(f"{{job.pid}}\\n")
(here / f"script-{{job.pid}}").write_text(Path(sys.argv[1]).read_text())
print(f"Submitted batch job {{job.pid}}")
"""
SCANCEL = """#!{python}
import os, signal, sys
try:
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    if importlib.util.find_spec("dask_jobqueue") is None:  # importing it here would change Ctrl-C
        pytest.skip("dask-jobqueue is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        file = folder / name
        file.write_text(textwrap.dedent(text).format(python=sys.executable, folder=str(tmp_path)))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    yield tmp_path
    for job in _jobs(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job, 9)


def _jobs(folder):
    file = folder / "jobs"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


OPTIONS = {"cores": 1, "memory": "1GB", "walltime": "00:30:00", "interface": "lo", "queue": "batch",
           "account": "neuro"}


def test_a_study_in_a_queue_whose_job_is_killed(slurm):
    s = ik.Study(lambda t, rng: time.sleep(0.01) or np.array([t["a"], rng.normal()]),
                 ik.Prior({"a": ik.Uniform(0.0, 1.0)}), path=slurm / "run", seed=3, quiet=True,
                 executor=ik.executor("dask", cluster="slurm", workers=2, dashboard="off",
                                      options={**OPTIONS, "nanny": False}))
    killed = []

    def show(progress):
        if progress.done > 60 and not killed:
            killed.append(_jobs(slurm)[0])
            os.killpg(killed[0], 9)

    s.reporter, show.say = show, lambda text: None
    s.simulate(400)
    assert killed and np.array_equal(s.simulations.index, np.arange(400))
    script = (slurm / f"script-{killed[0]}").read_text()
    assert "#SBATCH -p batch" in script and "#SBATCH -A neuro" in script
    assert "--lifetime 1440s --lifetime-stagger 180s" in script
    end = time.monotonic() + 5
    while any(Path(f"/proc/{job}").exists() for job in _jobs(slurm)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{job}").exists() for job in _jobs(slurm)), "jobs are left behind"


def test_workers_leave_before_the_queue_kills_them():
    if importlib.util.find_spec("dask_jobqueue") is not None:
        clusters.jobqueue()  # it brings the defaults of its own

    def extra(**options):
        return clusters._lifetime(DaskConfig(cluster="slurm", options=options), options)

    assert extra(walltime="1-00:00:00") == ["--lifetime", "85800s", "--lifetime-stagger", "300s"]
    assert extra() == extra(walltime="00:30:00")  # dask-jobqueue's own default
    assert extra(walltime="01:00:00", worker_extra_args=["--lifetime", "5m"]) == []


def test_wrong_options_name_the_remedy(slurm):
    for options in ({}, {"cores": 1, "memory": "1GB", "nonsense": 3}):
        s = ik.Study(lambda t, rng: t["a"], ik.Prior({"a": ik.Uniform(0.0, 1.0)}), quiet=True,
                     path=slurm / "run", executor=ik.executor("dask", cluster="slurm",
                                                              options=options))
        with pytest.raises(ConfigError, match="options for 'slurm'"):
            s.simulate(3)


def test_ctrl_c_stays_what_it_was():
    """Importing dask_jobqueue turns SIGINT into sys.exit for the whole process."""
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("dask-jobqueue is not installed")
    code = ("import signal, sys; before = signal.getsignal(signal.SIGINT)\n"
            "from inferkit_dask.clusters import jobqueue\njobqueue()\n"
            "assert signal.getsignal(signal.SIGINT) is before")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
