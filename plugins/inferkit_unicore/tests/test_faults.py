"""Whatever a site does wrong, the study ends with the same bytes as a serial run at home."""

import json
import threading
import time

import pytest
from unicore_helpers import ROWS, N, interrupt_after, local_digest, remote_study, slow, wait_for

from inferkit.errors import ExecutorError

JOBS = N // ROWS


@pytest.mark.parametrize("port", ["https", "http"])
def test_nothing_goes_wrong(site, finish, port):
    study = finish(site=getattr(site, port))
    assert len(site.posted) == site.started == JOBS
    assert sum(study.simulations.counts.values()) == N
    assert site.count("POST", "/jobs$") == JOBS
    assert site.connections == 1  # kept alive, uploads and downloads included


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("code", [503, 500])
def test_posting_a_job_is_answered_by_an_error(site, finish, code, after):
    site.faults.add("status", "POST", "/jobs$", times=2, code=code, after=after)
    finish()
    assert len(site.jobs) == JOBS  # the job that was created all the same was found by its tag
    assert site.started == JOBS
    assert len(site.posted) == JOBS


@pytest.mark.parametrize("after", [False, True])
def test_the_connection_breaks_while_a_job_is_posted(site, finish, after):
    site.faults.add("close", "POST", "/jobs$", times=2, after=after)
    finish()
    assert len(site.jobs) == site.started == len(site.posted) == JOBS


@pytest.mark.parametrize("name", ["inferkit.json", "inferkit.npz", "actions/start"])
def test_the_session_expires_in_mid_upload(site, finish, name):
    site.faults.add("expire_sessions", path=name)
    finish()
    assert site.count("PUT", name, 432) + site.count("POST", name, 432) == 1


def test_refused_once_in_mid_campaign(site, finish):
    site.faults.add("status", "GET", "/jobs/", code=403, skip=4)
    site.faults.add("status", "PUT", "npz", code=401)
    finish()
    assert site.started == JOBS


@pytest.mark.parametrize("name", ["manifest", "safetensors"])
@pytest.mark.parametrize(("action", "options"), [
    ("reset", {"fraction": 0.6}), ("truncate", {"fraction": 0.4}),
    ("replace", {"body": json.dumps({"errorMessage": "busy", "status": 503}).encode()}),
    ("status", {"code": 503}), ("close", {}),
])
def test_a_download_goes_wrong(site, finish, action, options, name):
    site.faults.add(action, "GET", f"files/.*{name}", times=3, **options)
    finish()
    assert len(site.faults.struck) == 3
    assert site.started == JOBS  # no simulation was repeated for it


def test_a_broken_transfer_goes_on_where_it_stopped(site, finish):
    site.faults.add("reset", "GET", "files/.*safetensors", fraction=0.6)
    finish()
    assert site.count("GET", "safetensors", 206) == 1


def test_a_job_vanishes(site, tmp_path, digest):
    study = remote_study(site, tmp_path / "run", slow)

    def expire():
        wait_for(lambda: site.started)
        site.expire(next(iter(site.jobs.values())))

    threading.Thread(target=expire, daemon=True).start()
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS + 1


def test_a_job_is_not_found_for_a_moment(site, finish):
    site.faults.add("status", "GET", "/jobs/[^/]+$", code=404, skip=4, times=2)
    finish()
    assert len(site.posted) == JOBS


def test_storage_is_slow_to_appear(site, finish):
    site.faults.initializing = 3
    finish()


def test_a_long_queue_is_polled_less_and_less(site, finish):
    site.faults.queue_seconds = 2.5
    finish(poll_seconds=0.1, poll_max=10.0)
    looks = site.count("GET", "/jobs/[^/]+$") / JOBS
    assert looks < 20, "2.5 s at 0.1 s would be 25 looks, and more on a busy machine"


@pytest.mark.parametrize("code", [0, 1])
def test_the_walltime_is_over(site, tmp_path, digest, code):
    """Killed: what was published counts, the rest runs again."""
    site.faults.walltime, site.faults.walltime_jobs = 1.2, 2
    path = tmp_path / "run"
    study = remote_study(site, path, slow, rows_per_job=N, collect_seconds=0.1)
    if code:
        site.faults.no_progress = True  # an old server
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert "walltime_jobs" in site.faults.struck


def test_a_job_stops_itself_before_its_walltime(site, tmp_path, digest):
    study = remote_study(site, tmp_path / "run", slow, rows_per_job=N, runtime="3",
                         margin_seconds=9)
    study.simulate(N)  # 2.4 s a job, and 16 times 0.04 s plus start
    assert study.simulations.digest() == digest
    assert all(j.status == "SUCCESSFUL" for j in site.jobs.values())


def test_successful_but_shards_are_missing(site, finish):
    site.faults.drop_shards, site.faults.no_progress = 1, True
    finish(collect_seconds=60.0)  # so that none is taken while its job runs
    assert site.faults.struck.count("drop_shards") == 1
    assert len(site.posted) > JOBS


def test_no_exit_code(site, finish):
    site.faults.drop_exit_code = 3
    finish()
    assert len(site.posted) == JOBS


def test_more_than_a_page_of_jobs_and_no_filter(site, tmp_path, digest):
    """210 jobs of others, newer than ours, at a server that ignores the tags asked for."""
    from inferkit_unicore.testserver.jobs import Job

    study = remote_study(site, tmp_path / "run", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(study, site, posted=JOBS)
    for _ in range(210):
        job = Job.new(site, {"Tags": ["other"], "haveClientStageIn": "true"}, "demouser")
        site.jobs[job.id] = job
    site.faults.ignore_tags_filter = True
    study = remote_study(site, tmp_path / "run", slow)
    study.simulate(N)
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS


def test_arrays_run_one_task_and_are_not_used(site, finish):
    from pyunicore.client import Client
    from pyunicore.credentials import UsernamePassword

    finish()
    for posted in site.posted:
        assert "ArraySize" not in posted["Resources"] and "Parameters" not in posted
        assert posted["Arguments"] == ["inferkit.sh"]
    client = Client(UsernamePassword("demouser", "test123"), site.http)
    job = client.new_job({"Executable": "echo task >> tasks", "Resources": {"ArraySize": "4"}})
    job.cache_time = 0
    end = time.monotonic() + 5
    while job.is_running() and time.monotonic() < end:
        time.sleep(0.05)
    assert job.working_dir.stat("tasks").read() == b"task\n"


@pytest.mark.parametrize("down", [0.0, 0.7])
def test_the_server_restarts(site, tmp_path, digest, down):
    study = remote_study(site, tmp_path / "run", slow)
    done = threading.Thread(target=study.simulate, args=(N,))
    done.start()
    wait_for(lambda: site.started >= 2)
    site.restart(down)
    done.join(30)
    assert not done.is_alive()
    assert study.simulations.digest() == digest
    assert len(site.posted) == JOBS


def test_two_clients_on_one_campaign(site, tmp_path, digest):
    a = remote_study(site, tmp_path / "a", slow)
    b = remote_study(site, tmp_path / "b", slow)
    first = threading.Thread(target=a.simulate, args=(N,))
    first.start()
    wait_for(lambda: len(site.posted) == JOBS)
    b.simulate(N)
    first.join(30)
    assert a.simulations.digest() == b.simulations.digest() == digest
    assert len(site.posted) == site.started == JOBS  # b did nothing twice


def test_lost_jobs_end_in_an_error_and_nothing_is_lost(site, tmp_path, digest):
    site.faults.walltime, site.faults.walltime_jobs = 0.0, 100
    study = remote_study(site, tmp_path / "run", retries=1, rows_per_job=N)
    with pytest.raises(ExecutorError, match="was lost 2 times.*time limit"):
        study.simulate(N)
    site.faults.clear()
    study.simulate(N)
    assert study.simulations.digest() == digest


def test_slow_gives_what_noisy_gives(digest, tmp_path):
    assert local_digest(tmp_path / "run", slow) == digest
