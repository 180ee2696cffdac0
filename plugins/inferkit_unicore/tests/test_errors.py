"""Every error says what came, and what to do."""

import os
import subprocess
import sys

import pytest
from inferkit_unicore.config import UnicoreConfig, seconds
from unicore_helpers import N, noisy, remote_study, settings

import inferkit as ik
from inferkit.errors import ConfigError, InferkitError


def fails(study, n=N):
    with pytest.raises(InferkitError) as caught:
        study.simulate(n)
    return str(caught.value)


def test_wrong_password(site, tmp_path, monkeypatch):
    monkeypatch.setenv("UNICORE_PASSWORD", "wrong-password")
    told = fails(remote_study(site, tmp_path / "run"))
    assert "refuses user 'demouser'" in told and "UNICORE_PASSWORD" in told
    assert "wrong-password" not in told


def test_no_credentials(site, tmp_path, monkeypatch):
    for name in ("UNICORE_TOKEN", "UNICORE_USER"):
        monkeypatch.delenv(name, raising=False)
    told = fails(remote_study(site, tmp_path / "run", username=""))
    assert "no credentials" in told and "export UNICORE_TOKEN" in told


def test_unknown_queue(site, tmp_path):
    told = fails(remote_study(site, tmp_path / "run", queue="gpu"))
    assert "no queue 'gpu'" in told and "batch, devel" in told
    assert not site.posted


def test_the_site_is_down(site, tmp_path):
    study = remote_study(site, tmp_path / "run", patience=0.5,
                         site="https://127.0.0.1:9/X/rest/core")
    told = fails(study)
    assert "has not answered for 0.5 s" in told and "inferkit resume" in told


def test_submission_is_disabled(site, tmp_path):
    site.faults.submission_enabled = False
    site.faults.submission_message = "Maintenance until Monday"
    told = fails(remote_study(site, tmp_path / "run"))
    assert "takes no jobs now: Maintenance until Monday" in told and "resume" in told


def test_submission_becomes_disabled(site, tmp_path):
    """Between two jobs; what runs is not lost."""
    site.faults.add("status", "POST", "/jobs$", skip=1, times=99, code=503)
    study = remote_study(site, tmp_path / "run")
    driver_sees = site.faults
    import threading

    def disable():
        from unicore_helpers import wait_for

        wait_for(lambda: driver_sees.struck)
        driver_sees.submission_enabled = False

    threading.Thread(target=disable, daemon=True).start()
    assert "takes no jobs now" in fails(study)
    site.faults.clear()
    study.simulate(N)
    assert len(site.posted) == 2


def test_the_token_expires(site, tmp_path, monkeypatch, digest):
    """A token from the environment cannot renew itself: say so, and go on with a new one."""
    monkeypatch.delenv("UNICORE_PASSWORD")
    monkeypatch.setenv("UNICORE_TOKEN", "first-secret-token")
    site.users.tokens["first-secret-token"] = "demouser"
    site.faults.queue_seconds = 0.5
    study = remote_study(site, tmp_path / "run", username="")
    import threading

    def expire():
        from unicore_helpers import wait_for

        wait_for(lambda: site.count("POST", "start", 204) == 2)
        site.users.tokens.clear()
        site.users.forget_sessions()

    threading.Thread(target=expire, daemon=True).start()
    told = fails(study)
    assert "refuses token from UNICORE_TOKEN" in told and "new token" in told
    assert "first-secret-token" not in told
    monkeypatch.setenv("UNICORE_TOKEN", "second-secret-token")
    site.users.tokens["second-secret-token"] = "demouser"
    study.simulate(N)
    assert study.simulations.digest() == digest and len(site.posted) == 2


def test_untrusted_certificate(site, tmp_path):
    told = fails(remote_study(site, tmp_path / "run", ca=""))
    assert "certificate" in told and "not trusted" in told and "ca = " in told
    assert not site.requests  # nobody got to see the password


def test_certificate_of_another(site, tmp_path):
    from inferkit_unicore.testserver.tls import make_certificate

    make_certificate(tmp_path)
    told = fails(remote_study(site, tmp_path / "run", ca=str(tmp_path / "ca.pem")))
    assert "not trusted" in told
    told = fails(remote_study(site, tmp_path / "run", ca=str(tmp_path / "no.pem")))
    assert "no PEM file" in told


def test_verification_can_be_turned_off(site, finish):
    finish(ca="", verify=False)


@pytest.mark.parametrize(("changes", "expected"), [
    ({"python": "/no/such/python"}, "No such file"),
    ({"python": f"{sys.executable}", "setup": ["exec " + sys.executable + " -S -c 'import inferkit'"]},
     "No module named 'inferkit'"),
    ({"modules": ["Python/3.12"], "setup": ["nonsense-command || exit 127"]}, "command not found"),
])
def test_nothing_to_run_on_the_node(site, tmp_path, changes, expected):
    told = fails(remote_study(site, tmp_path / "run", **changes))
    assert "does not start on the node" in told and expected in told
    assert "modules, setup, python or container" in told
    assert len(site.posted) <= 2


def test_the_simulator_is_missing_on_the_node(site, tmp_path):
    """Its plugin is installed here and disabled there."""
    study = ik.Study("lif", ik.Prior({"I": ik.Uniform(0.5, 1.0)}), path=tmp_path / "run", quiet=True,
                     executor=ik.executor("unicore", **settings(site)))
    reference = study.simulator.reference()
    reference["version"] = "99.0"
    job = study.running.job()
    object.__setattr__(job, "simulator", reference)
    study.running.job = lambda: job
    study.check_names = lambda: None
    told = fails(study)
    assert "on the node of" in told and "99.0" in told and "in the site's environment" in told


def test_unknown_storage(site, tmp_path):
    (tmp_path / "file").write_text("x")
    told = fails(remote_study(site, tmp_path / "run", stage=[str(tmp_path / "file")],
                              storage="ARCHIVE"))
    assert "no storage 'ARCHIVE'" in told and "HOME, SCRATCH" in told


def test_a_bad_job_description_is_not_repeated_for_ever(site, tmp_path):
    told = fails(remote_study(site, tmp_path / "run", resources={"Runtime": "soon"}))
    assert "takes no such job" in told and "not a time" in told


def test_unknown_registry_site(site, tmp_path):
    told = fails(remote_study(site, tmp_path / "run", site="ELSEWHERE", registry=site.registry))
    assert "no site 'ELSEWHERE'" in told and "DEMO-SITE" in told


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "message"), [
    ({"site": "http://hpc.example.org/S/rest/core"}, "not encrypted"),
    ({"site": "https://me:pw@hpc.example.org/S/rest/core"}, "holds a password"),
    ({"site": "https://hpc.example.org/S"}, "HOST"),
    ({"site": "https://h/S/rest/core", "nodes": 2}, "no launcher"),
    ({"site": "https://h/S/rest/core", "runtime": "soon"}, "30min"),
    ({"site": "https://h/S/rest/core", "max_jobs": 0}, "1 or more"),
    ({"site": "https://h/S/rest/core", "poll_seconds": 90.0}, "at most poll_max"),
    ({"site": "https://h/S/rest/core", "token": "abc-secret"}, "token_"),
])
def test_wrong_settings(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ik.executor("unicore", **values)
    assert "pw@" not in str(caught.value) and "abc-secret" not in str(caught.value)


def test_the_site_may_come_from_the_environment(site, finish, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no site"):
        remote_study(site, tmp_path / "other", site="").simulate(N)
    monkeypatch.setenv("UNICORE_SITE", site.https)
    finish(site="")


def test_times():
    assert [seconds(t) for t in ("90", "30min", "2h", "1.5d")] == [90, 1800, 7200, 129600]
    config = UnicoreConfig(site="https://h/S/rest/core", runtime="1h")
    assert config.stop_after == 3600 - 120


def test_profiles(tmp_path, monkeypatch):
    file = tmp_path / "unicore.toml"
    file.write_text('[juwels]\nurl = "https://hpc.example.org/J/rest/core"\nqueue = "batch"\n'
                    'modules = ["Python"]\nruntime = "2h"\n')
    monkeypatch.setenv("UNICORE_SITES", str(file))
    config = UnicoreConfig(site="juwels", queue="devel").resolved()
    assert (config.site, config.queue, config.runtime) == (
        "https://hpc.example.org/J/rest/core", "devel", "2h")
    assert config.modules == ["Python"]
    with pytest.raises(ConfigError, match="juwels"):
        UnicoreConfig(site="juwel").resolved()
    file.write_text('[juwels]\nurl = "https://h/J/rest/core"\nqueu = "batch"\n')
    with pytest.raises(ConfigError, match="queue"):
        UnicoreConfig(site="juwels").resolved()
    file.unlink()
    with pytest.raises(ConfigError, match="no URL"):
        UnicoreConfig(site="juwels").resolved()


def test_registry(site, finish):
    finish(site="DEMO-SITE", registry=site.registry)


def test_registry_with_one_site(site, finish):
    finish(site="", registry=site.registry)


def test_listing_imports_no_backend():
    code = ("import sys, inferkit; from inferkit import plugins; "
            "s = plugins.get('executor', 'unicore'); c = inferkit.executor('unicore', "
            "site='https://h/S/rest/core'); assert s.detached; e = c.build(); "
            "print([m for m in ('pyunicore', 'httpx', 'cryptography') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ}, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_asked_of_the_site_before_it_is_needed(site, finish, tmp_path):
    finish()
    asked = len(site.requests)
    again = remote_study(site, tmp_path / "run", noisy)
    again.simulate(N)  # all is stored
    assert len(site.requests) == asked


def test_sizes_of_jobs():
    config = UnicoreConfig(site="https://h/S/rest/core", max_jobs=4, cpus_per_node=10,
                           job_minutes=10.0, runtime="1h")
    from inferkit_unicore.executor import UnicoreExecutor

    executor = UnicoreExecutor(config)
    assert executor.chunk_rows(4000, 0.0) == 1000  # unknown cost: an equal share for each job
    assert executor.chunk_rows(12, 0.0) == 10  # not less than a row a core
    assert executor.chunk_rows(40000, 6.0) == 1000  # 10 minutes
    assert executor.chunk_rows(400, 1.0) == 600  # not shorter than a minute
    assert executor.chunk_rows(1000, 10000.0) == 10
    known = UnicoreExecutor(UnicoreConfig(site="https://h/S/rest/core", cpus_per_node=10,
                                          job_minutes=10.0, simulation_seconds=6.0))
    assert known.chunk_rows(40000, 0.0) == 1000
