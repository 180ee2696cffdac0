"""The command line, as a user meets it."""

import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest

STUDY = """
path = "{path}"
simulations = {n}
features = ["spike_count", {{name = "stats", output = "V", which = ["mean", "sd"]}}]
observed = {{seed = 2, theta = {{tau = 20.0, C = 200.0}}}}
[simulator]
name = "lif"
duration = 60.0
offset = 50.0
[prior]
tau = {{family = "log_normal", median = 20.0, sigma = 0.3, unit = "ms"}}
C = {{family = "log_normal", median = 200.0, sigma = 0.3, unit = "pF"}}
[estimator]
name = "abc-rejection"
[executor]
name = "local"
workers = {workers}
"""


def inferkit(*args, cwd=None):
    return subprocess.run([sys.executable, "-m", "inferkit", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True, timeout=120)


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "study.toml"
    made.write_text(STUDY.format(path=tmp_path / "run", n=1500, workers=1))
    return made


def test_init_check_run_resume_report_compare_replay(tmp_path):
    made = inferkit("init", "s.toml", cwd=tmp_path)
    assert made.returncode == 0 and "inferkit run s.toml" in made.stdout
    again = inferkit("init", "s.toml", cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr
    checked = inferkit("check", "s.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "PASS     seeds" in checked.stdout and "PASS     batches" in checked.stdout
    assert not (tmp_path / "runs").exists()  # a trial leaves nothing
    ran = inferkit("run", "s.toml", "-n", 1500, cwd=tmp_path)
    assert ran.returncode in (0, 1), ran.stderr
    assert "report: runs/s/report.html" in ran.stdout and "overall:" in ran.stdout
    assert "V_rest" in ran.stdout and "mV" in ran.stdout
    assert (tmp_path / "runs/s/report.html").stat().st_size > 10_000
    more = inferkit("resume", "runs/s", "-n", 2000, "--only", "simulate", cwd=tmp_path)
    assert more.returncode == 0 and "2,000 of 2,000 (1,500 from before)" in more.stderr
    assert inferkit("report", "runs/s", "-o", "other.html", cwd=tmp_path).returncode == 0
    assert (tmp_path / "other.html").exists()
    compared = inferkit("compare", "runs/s", "abc-rejection", "abc-smc", "--simulate", 200_000,
                        cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    lines = compared.stdout.splitlines()
    assert "compare.png" in lines.pop() and (tmp_path / "runs/s/compare.png").stat().st_size > 5000
    assert lines[0].startswith("estimator") and len(lines) == 3 and "1,800" in lines[1]
    replayed = inferkit("replay", "runs/s:137", cwd=tmp_path)
    assert replayed.returncode == 0 and "the same, to the byte" in replayed.stdout


def test_plain_lines_in_a_batch_log(file):
    ran = inferkit("run", file, "--only", "simulate")
    assert "\r" not in ran.stderr and "simulations: 1,500 of 1,500" in ran.stderr


def test_a_live_line_on_a_terminal(file):
    import pty

    primary, secondary = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "inferkit", "run", str(file), "--only",
                                "simulate"], stdout=secondary, stderr=secondary)
    os.close(secondary)
    shown = b""
    try:
        while chunk := os.read(primary, 4096):
            shown += chunk
    except OSError:  # the other end closed
        pass
    assert process.wait() == 0
    assert b"\r" in shown and b"1,500 of 1,500" in shown


@pytest.mark.parametrize(("args", "message"), [
    (["run", "none.toml"], "no file none.toml"), (["resume", "."], "has no study.toml"),
    (["check", "."], "no study file"), (["report", "nowhere"], "has no study.toml"),
    (["replay", "here"], "names no row"), (["plugins", "show", "lfi"], "did you mean 'lif'"),
    (["plugins", "list", "simulatorz"], "unknown role"),
    (["init", "x.toml", "--simulator", "no"], "unknown simulator"),
    (["plugins", "new", "1st"], "cannot name a package"),
])
def test_mistakes_get_one_clear_message(args, message, tmp_path):
    done = inferkit(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_changed_study_between_run_and_resume(file, tmp_path):
    assert inferkit("run", file, "--only", "simulate").returncode == 0
    file.write_text(file.read_text().replace("duration = 60.0", "duration = 80.0"))
    done = inferkit("run", file, "--only", "simulate")
    assert done.returncode == 2
    assert "simulator.config.duration: was 60.0, now 80.0" in done.stderr
    # The folder still knows its own study.
    assert "duration = 60.0" in (tmp_path / "run/study.toml").read_text()
    assert inferkit("resume", tmp_path / "run", "--only", "simulate").returncode == 0


def test_a_damaged_store_is_mended_by_resume(file, tmp_path):
    assert inferkit("run", file, "--only", "simulate").returncode == 0
    from inferkit.store import Simulations, Store

    before = Simulations(Store.existing(tmp_path / "run"), 0).digest()
    shard = max((tmp_path / "run/shards").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.write_bytes(data)
    broken = inferkit("run", file)  # simulate heals small stores by itself
    assert broken.returncode in (0, 1) and "1 damaged rows" in broken.stderr
    data[:] = shard.parent.joinpath(shard.name).read_bytes()[:-50] if shard.exists() else b"x"
    for other in (tmp_path / "run/shards").iterdir():
        other.write_bytes(other.read_bytes()[:-20])
        break
    assert inferkit("resume", tmp_path / "run", "--only", "simulate").returncode == 0
    assert Simulations(Store.existing(tmp_path / "run"), 0).digest() == before


def test_two_processes_on_one_run(file, tmp_path):
    from inferkit.store import Store

    assert inferkit("run", file, "--only", "simulate").returncode == 0
    with Store.existing(tmp_path / "run").writing():
        done = inferkit("run", file, "-n", 3000)
    assert done.returncode == 2 and f"process {os.getpid()}" in done.stderr


def test_check_catches_a_simulator_that_ignores_its_seed(tmp_path):
    (tmp_path / "m.py").write_text(
        "import numpy as np\n"
        "def shared(theta, rng):\n"
        "    return theta['a'] + np.random.default_rng(0).standard_normal(3)\n"
        "def unseeded(theta, rng):\n    return theta['a'] + np.random.standard_normal(3)\n"
        "def fine(theta, rng):\n    return theta['a'] + rng.standard_normal(3)\n"
        "def fails(theta, rng):\n    raise ValueError('no such thing')\n")
    for name, code, message in (("shared", 1, "two seeds gave the same answer"),
                                ("unseeded", 1, "one parameter set and one seed gave two answers"),
                                ("fine", 0, "PASS     seeds"),
                                ("fails", 1, "no such thing")):
        (tmp_path / "s.toml").write_text(
            f'[simulator]\nfunction = "m.py:{name}"\n'
            '[prior]\na = {family = "uniform", low = 0.0, high = 1.0}\n')
        done = inferkit("check", tmp_path / "s.toml", cwd=tmp_path)
        assert done.returncode == code and message in done.stdout + done.stderr


def test_secrets_on_the_command_line_are_masked():
    from inferkit.provenance import masked

    assert masked(["x", "--token", "abc", "--password=def", "-n", "3"]) == [
        "x", "--token", "***", "--password=***", "-n", "3"]


def test_replay_of_a_failed_row_says_what_happened(tmp_path):
    (tmp_path / "m.py").write_text(
        "def f(theta, rng):\n    if theta['a'] > 0.5:\n        raise ValueError('too large')\n"
        "    return theta['a']\n")
    (tmp_path / "s.toml").write_text(
        'simulations = 60\npath = "run"\n[simulator]\nfunction = "m.py:f"\n'
        '[prior]\na = {family = "uniform", low = 0.0, high = 1.0}\n')
    assert inferkit("run", "s.toml", "--only", "simulate", cwd=tmp_path).returncode == 0
    from inferkit.store import Simulations, Store

    table = Simulations(Store.existing(tmp_path / "run"), 0)
    bad = int(np.flatnonzero(table.status)[0])
    done = inferkit("replay", f"run:{bad}", cwd=tmp_path)
    assert done.returncode == 0 and "ValueError: too large (m.py:3)" in done.stdout


def test_the_demo_ends_with_a_report_and_a_verdict(tmp_path):
    listed = inferkit("demo", cwd=tmp_path)
    assert listed.returncode == 0 and "lif" in listed.stdout and "inferkit demo NAME" in listed.stdout
    done = inferkit("demo", "lif", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "overall:" in done.stdout and "report: runs/lif/report.html" in done.stdout
    assert (tmp_path / "runs/lif/report.html").exists()
    again = inferkit("run", "runs/lif/lif.toml", cwd=tmp_path)
    assert again.returncode == 0 and "all 20,000 are stored already" in again.stderr
    unknown = inferkit("demo", "lifs", cwd=tmp_path)
    assert unknown.returncode == 2 and "did you mean 'lif'" in unknown.stderr


def test_plugins_new_makes_packages_whose_tests_pass(tmp_path):
    for role in ("simulator", "estimator", "observations", "feature"):
        kind = (["estimator", "--observations"] if role == "observations" else [role])
        made = inferkit("plugins", "new", f"my-{role}", "--role", *kind, "--into", tmp_path)
        assert made.returncode == 0, made.stderr
        folder = tmp_path / f"inferkit_my_{role}"
        # Installed for real, into a folder of its own.
        site = tmp_path / f"site-{role}"
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps",
                               "--target", str(site), str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        tested = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                                 str(folder / "tests")], capture_output=True, text=True, cwd=tmp_path,
                                env={**os.environ, "PYTHONPATH": str(site)})
        assert tested.returncode == 0 and "passed" in tested.stdout, tested.stdout


def test_only_an_estimator_learns_from_observations(tmp_path):
    done = inferkit("plugins", "new", "x", "--observations", "--into", tmp_path)
    assert done.returncode == 2 and "--role estimator --observations" in done.stderr


def test_every_demo_is_a_study_file():
    """Those that need a backend are run by its plugin's own tests."""
    from inferkit import plugins
    from inferkit.commands import demo, study_file
    from inferkit.plugins import schema

    for spec in plugins.registry().all("demo"):
        told = schema.build(study_file.StudyFile, tomllib.loads(demo.text(spec)), spec.name)
        assert told.observed is not None, f"{spec.name} shows no posterior"
        assert 0 < spec.seconds <= 120


def test_an_estimator_that_cannot_work_is_refused_before_anything_runs(file, tmp_path):
    file.write_text(file.read_text().replace("observed =", "# observed =")
                    .replace("abc-rejection", "abc-smc"))
    done = inferkit("run", file)
    assert done.returncode == 2 and "needs the observation" in done.stderr
    assert not list((tmp_path / "run").glob("shards/*"))


def test_status_of_a_local_run(file, tmp_path):
    assert inferkit("run", file, "--only", "fit").returncode == 0
    done = inferkit("status", tmp_path / "run")
    assert "round 0: 1,500 of 1,500 rows" in done.stdout and "fit: abc-rejection-" in done.stdout
    cancelled = inferkit("cancel", tmp_path / "run")
    assert cancelled.returncode == 2 and "leaves no jobs behind" in cancelled.stderr
