"""The client goes away and comes back: nothing runs twice, nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from inferkit_unicore import commands
from inferkit_unicore.campaign import Campaign
from inferkit_unicore.config import UnicoreConfig
from unicore_helpers import ROWS, N, interrupt_after, remote_study, settings, slow, wait_for

import inferkit as ik
from inferkit.errors import ConfigError, ExecutorError

JOBS = N // ROWS
HELPERS = Path(__file__).parent / "helpers.py"
CLIENT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("unicore_helpers", {helpers!r})
helpers = importlib.util.module_from_spec(spec)
sys.modules["unicore_helpers"] = helpers
spec.loader.exec_module(helpers)
import inferkit as ik
study = ik.Study(helpers.slow, helpers.prior(), path={path!r}, seed=7, quiet=True,
                 executor=ik.executor("unicore", **{settings!r}))
study.simulate({n})
"""


def client(site, path, n=N, **changes):
    """The same study in a process of its own."""
    code = CLIENT.format(helpers=str(HELPERS), path=str(path), n=n, settings=settings(site, **changes))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "UNICORE_PASSWORD": "test123"})


def end(process):
    try:
        return process.communicate(timeout=30)[1]
    finally:
        process.kill()


@pytest.mark.parametrize("when", ["posted", "running", "collecting"])
def test_the_client_is_killed_and_resumed(site, tmp_path, digest, when):
    path = tmp_path / "run"
    process = client(site, path)
    wait_for({
        "posted": lambda: site.count("POST", "/jobs$", 201) == JOBS and site.count(
            "POST", "start", 204) == JOBS,
        "running": lambda: site.started == JOBS and site.count("POST", "start", 204) == JOBS,
        "collecting": lambda: site.count("GET", "safetensors", 200) >= 1,
    }[when])
    process.send_signal(signal.SIGKILL)
    end(process)
    study = remote_study(site, path, slow)
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == site.started == JOBS


def test_killed_between_posting_and_starting(site, tmp_path, digest):
    """A job that was created and never started is replaced: its folder may be half full."""
    site.faults.add("delay", "PUT", "npz", seconds=1.0)
    process = client(site, tmp_path / "run")
    wait_for(lambda: len(site.posted) == 1 and site.faults.struck)
    process.kill()
    end(process)
    study = remote_study(site, tmp_path / "run", slow)
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert site.started == JOBS and len(site.jobs) == JOBS


def test_from_another_machine_that_has_only_the_folder(site, tmp_path, digest):
    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, JOBS)
    shutil.copytree(tmp_path / "run", tmp_path / "copy", ignore=shutil.ignore_patterns("unicore"))
    other = remote_study(site, tmp_path / "copy", slow)
    other.simulate(N)
    assert other.simulations.digest() == digest
    assert len(site.posted) == site.started == JOBS
    study = remote_study(site, tmp_path / "run", slow)  # and back home
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS


def test_a_journal_with_a_torn_last_line(site, tmp_path, digest):
    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, JOBS)
    file = tmp_path / "run/unicore/campaign.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    study = remote_study(site, tmp_path / "run", slow)
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS


def test_ctrl_c_detaches_and_says_how_to_come_back(site, tmp_path, digest):
    process = client(site, tmp_path / "run")
    wait_for(lambda: site.count("POST", "start", 204) == JOBS)
    process.send_signal(signal.SIGINT)
    told = end(process)
    assert f"inferkit resume {tmp_path / 'run'}" in told and "2 jobs go on" in told
    assert not any("abort" in j.told["message"] for j in site.jobs.values())
    study = remote_study(site, tmp_path / "run", slow)
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS


def test_ctrl_c_can_cancel(site, tmp_path, digest):
    study = remote_study(site, tmp_path / "run", slow, on_interrupt="cancel", rows_per_job=N)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, 1)
    wait_for(lambda: all(j.status == "FAILED" for j in site.jobs.values()))
    study = remote_study(site, tmp_path / "run", slow)
    study.simulate(N)
    assert study.simulations.digest() == digest


def test_more_simulations_while_jobs_run(site, tmp_path, digest):
    """A resumed study that wants more, or fewer, takes over what overlaps."""
    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, JOBS)
    fewer = remote_study(site, tmp_path / "run", slow)
    fewer.simulate(N // 2 + 2)
    assert len(fewer.simulations) >= N // 2 + 2 and len(site.posted) == JOBS
    more = remote_study(site, tmp_path / "run", slow)
    more.simulate(N + 4)
    assert np.array_equal(more.simulations.index, np.arange(N + 4))
    assert sum(int(p["Name"].split("(")[1][:-1]) for p in site.posted) == N + 4


def test_results_are_stored_while_jobs_run(site, tmp_path):
    """The job lingers until the client has stored some, and only some, of its results."""
    go, n = tmp_path / "go", 400

    def lingering(theta, rng):
        if not go.exists():
            time.sleep(0.05)
        return rng.normal(size=6) + theta["a"]

    study = remote_study(site, tmp_path / "run", lingering, rows_per_job=n, collect_seconds=0.1)

    def watch():
        while not done.wait(0.02):
            if 0 < len(study.store.present(0)) < n:
                go.touch()

    done = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    study.simulate(n)
    done.set()
    watcher.join()
    assert go.exists() and len(study.simulations) == n


def test_one_look_a_job_a_poll(site, tmp_path):
    began = time.monotonic()
    remote_study(site, tmp_path / "run", slow, poll_seconds=0.2, poll_max=0.2).simulate(N)
    polls = (time.monotonic() - began) / (0.8 * 0.2)
    for job in site.jobs:
        # One look before it starts, one for its links when it is started, then one a poll.
        assert site.count("GET", f"/jobs/{job}$") <= polls + 3


# -- looking after a run ---------------------------------------------------------------------------


def test_status_cancel_clean(site, tmp_path, digest, capsys):
    site.faults.queue_seconds = 60
    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, JOBS)
    path = tmp_path / "run"
    states = commands.status(path, trust=True)
    assert [s.rows for s in states] == [ROWS] * JOBS
    assert commands.main(["status", str(path), "--trust"]) == 0 and "QUEUED" in capsys.readouterr().out
    assert commands.clean(path) == 0  # nothing is collected yet
    assert commands.cancel(path) == JOBS
    wait_for(lambda: {s.status for s in commands.status(path, trust=True)} == {"FAILED"})
    assert commands.cancel(path) == 0
    site.faults.queue_seconds = 0
    remote_study(site, path, slow).simulate(N)
    assert study.simulations.digest() == digest
    assert commands.main(["clean", str(path)]) == 0
    assert not site.jobs and not list((site.root / "uspaces").iterdir())
    assert commands.status(path, trust=True) == []
    assert commands.main(["status", str(tmp_path)]) == 2


def test_status_takes_no_folder_at_its_word(site, tmp_path, monkeypatch, capsys):
    """A folder names a site and a command that makes a token: neither is used, unless trusted."""
    from inferkit.commands.cli import main

    monkeypatch.setenv("UNICORE_SITES", str(tmp_path / "sites.toml"))
    monkeypatch.setenv("UNICORE_TOKEN", "a-token")
    site.users.tokens["a-token"] = "demouser"
    remote_study(site, tmp_path / "run", auth="token").simulate(N)
    # The same, but for a command that somebody put in.
    told, ran = tmp_path / "run/unicore/site.json", tmp_path / "ran"
    kept = json.loads(told.read_text())
    command = {**kept, "config": {**kept["config"], "token_command": f"touch {ran}"}}
    asked = len(site.requests)
    told.write_text(json.dumps(command))
    with pytest.raises(ConfigError, match="no profile of yours says the same"):
        commands.status(tmp_path / "run")
    assert main(["status", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert f"{N} of {N} rows" in said.out and "--trust" in said.err and site.https in said.err
    assert not ran.exists() and len(site.requests) == asked
    with pytest.raises(ExecutorError, match="gave no token"):
        commands.status(tmp_path / "run", trust=True)
    assert ran.exists()
    # Once a profile of one's own says what the folder says, it is asked.
    told.write_text(json.dumps(kept))
    (tmp_path / "sites.toml").write_text(
        f'[mine]\nurl = "{site.https}"\nca = "{site.ca}"\nauth = "token"\n')
    assert len(commands.status(tmp_path / "run")) == 2
    assert main(["status", str(tmp_path / "run")]) == 0


def test_cancelled_under_a_running_client(site, tmp_path):
    study = remote_study(site, tmp_path / "run", slow)

    def cancel():
        wait_for(lambda: site.count("POST", "start", 204) == JOBS)
        commands.cancel(tmp_path / "run")

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(ExecutorError, match="aborted by somebody"):
        study.simulate(N)
    assert len(site.posted) == JOBS  # not replaced behind the user's back


def test_cancelled_under_a_resumed_client(site, tmp_path):
    site.faults.queue_seconds = 60
    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, JOBS)
    looks = site.count("GET", "/jobs/[^/]+$")

    def cancel():
        wait_for(lambda: site.count("GET", "/jobs/[^/]+$") >= looks + 3 * JOBS)
        commands.cancel(tmp_path / "run")

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(ExecutorError, match="aborted by somebody"):
        study.simulate(N)
    assert len(site.posted) == JOBS


def test_hopeless_simulations_do_not_burn_the_budget(site, tmp_path):
    """Where all fail, what waits in the queue is stopped, whatever Ctrl-C would do."""

    def bad(theta, rng):
        raise RuntimeError("always")

    site.slots.acquire()
    try:
        study = remote_study(site, tmp_path / "run", bad, rows_per_job=20)
        with pytest.raises(ik.errors.InferkitError, match="all of the first"):
            study.simulate(60)
    finally:
        site.slots.release()
    wait_for(lambda: all(j.status in ("FAILED", "SUCCESSFUL") for j in site.jobs.values()))


def test_the_campaign_file_survives_tearing(tmp_path):
    campaign = Campaign(tmp_path, "k" * 32)
    campaign.intend("a", 0, np.array([1, 2, 3, 7]), "https://x/rest/core")
    with campaign.file.open("a") as f:
        f.write('{"event": "job", "chu')
    campaign.write("job", "a", url="https://x/rest/core/jobs/1")
    entry = campaign.read()["a"]
    assert entry.url.endswith("/1") and entry.index.tolist() == [1, 2, 3, 7]
    campaign.keep_settings(UnicoreConfig(site="https://h/S/rest/core"), "k" * 32)
    assert Campaign.settings(tmp_path)[1] == "k" * 32
