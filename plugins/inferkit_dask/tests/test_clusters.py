"""Existing schedulers, TLS, losses and restarts, versions, code that is sent, adaptive clusters."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from inferkit_dask import clusters, host, versions

import inferkit as ik
from inferkit.data import Chunk
from inferkit.errors import ConfigError, ExecutorError
from inferkit.testing.executor import descendants

sys.path.insert(0, str(Path(__file__).parent))
from cluster import Outside, free_port  # noqa: E402


def noisy(theta, rng):
    time.sleep(0.002)
    return {"x": np.array([theta["a"], rng.standard_normal()])}


def study(path, executor, function=noisy, **options):
    return ik.Study(ik.simulator(function), ik.Prior({"a": ik.Uniform(0.0, 1.0)}), path=path, seed=3,
                    executor=executor, quiet=True, **options)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    with Outside(tmp_path_factory.mktemp("outside"), threads=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    s = study(tmp_path_factory.mktemp("serial") / "run", ik.executor("local", workers=0))
    s.simulate(300)
    return s.simulations.digest()


# -- an existing scheduler -----------------------------------------------------------------------


@pytest.mark.parametrize("shards", ["workers", "client"])
def test_shards_written_there_or_sent_back(outside, tmp_path, serial, shards):
    s = study(tmp_path / "run", ik.executor("dask", address=outside.address, shards=shards))
    s.simulate(300)
    assert s.simulations.digest() == serial
    assert not list((tmp_path / "run").glob(".inferkit-*"))


@pytest.mark.parametrize("shards", ["workers", "client"])
def test_a_team_shares_a_chunk_and_writes_one_file(outside, tmp_path, shards):
    def odd(theta, rng):
        if theta["a"] > 0.97:
            os._exit(3)
        if theta["a"] < 0.03:
            return {"x": np.zeros(5)}
        return {"x": np.array([theta["a"], rng.standard_normal()])}

    s = study(tmp_path / "run", ik.executor("dask", address=outside.address, team=3, shards=shards),
              odd)
    s.simulate(300)
    reference = study(tmp_path / "local", ik.executor("local", workers=1), odd)
    reference.simulate(300)
    assert s.simulations.digest() == reference.simulations.digest()
    assert set(np.unique(s.simulations.status)) == {0, 5, 6}
    assert len(list((tmp_path / "run/shards").iterdir())) < 60


def test_workers_that_do_not_see_the_folder_send_back(outside, tmp_path, serial, monkeypatch):
    s = study(tmp_path / "run", ik.executor("dask", address=outside.address))
    monkeypatch.setattr("pathlib.Path.write_text", lambda *a, **k: 0)  # no token there
    s.simulate(300)
    assert s.simulations.digest() == serial
    t = study(tmp_path / "other", ik.executor("dask", address=outside.address, shards="workers"))
    with pytest.raises(ExecutorError, match="cannot write in"):
        t.simulate(20)


def test_a_client_of_ones_own_stays_open(outside, tmp_path, serial):
    from distributed import Client

    with Client(outside.address, set_as_default=False) as client:
        s = study(tmp_path / "run", ik.executor("dask", client=client))
        s.simulate(300)
        assert s.simulations.digest() == serial
        assert client.status == "running"
        assert not [n for w in client.run(lambda dask_worker: list(dask_worker.plugins)).values()
                    for n in w if n.startswith("inferkit")]


def test_nobody_answers(tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    s = study(tmp_path / "run", ik.executor("dask", address=address))
    clusters_seconds, clusters.CONNECT_SECONDS = clusters.CONNECT_SECONDS, 1.0
    try:
        with pytest.raises(ExecutorError, match="no Dask scheduler answers at " + address):
            s.simulate(10)
    finally:
        clusters.CONNECT_SECONDS = clusters_seconds


def test_tls(tmp_path, serial):
    certificates(tmp_path)
    names = {k: str(tmp_path / f"{k}.pem") for k in ("ca", "cert", "key")}
    flags = ["--tls-ca-file", names["ca"], "--tls-cert", names["cert"], "--tls-key", names["key"]]
    with Outside(tmp_path, tls=flags) as cluster:
        s = study(tmp_path / "run", ik.executor("dask", address=cluster.address, tls=names))
        s.simulate(300)
        assert s.simulations.digest() == serial
        with pytest.raises(ExecutorError, match="no Dask scheduler"):
            study(tmp_path / "two", ik.executor("dask", address=cluster.address)).simulate(5)


def certificates(folder):
    from distributed.security import Security

    held = Security.temporary().get_tls_config_for_role("worker")
    for name, key in (("ca", "ca_file"), ("cert", "cert"), ("key", "key")):
        (folder / f"{name}.pem").write_text(held[key])


def test_the_scheduler_is_killed_and_comes_back(tmp_path, serial):
    with Outside(tmp_path, workers=2) as cluster:
        s = study(tmp_path / "run", ik.executor("dask", address=cluster.address))
        killed = []

        def show(progress):
            if progress.done > 100 and not killed:
                killed.append(cluster.processes["scheduler"].pid)
                os.kill(killed[0], signal.SIGKILL)

        s.reporter, show.say = show, lambda text: None
        s.simulate(300)
        assert killed and s.simulations.digest() == serial


def test_the_scheduler_is_gone_for_good(tmp_path, serial):
    with Outside(tmp_path) as cluster:
        s = study(tmp_path / "run", ik.executor("dask", address=cluster.address, patience=3.0))

        def show(progress):
            if progress.done > 100 and not cluster.stopped.is_set():
                cluster.__exit__()

        s.reporter, show.say = show, lambda text: None
        with pytest.raises(ExecutorError, match="did not come back") as error:
            s.simulate(300)
    assert "inferkit resume" in str(error.value) and 100 < len(s.simulations) < 300
    again = study(tmp_path / "run", ik.executor("local", workers=1))
    assert again.simulate(300).before > 100
    assert again.simulations.digest() == serial


# -- versions and code ---------------------------------------------------------------------------


def test_versions_are_compared():
    packages = {"inferkit": "inferkit", "mine": "my-model"}
    mine = {"python": "3.11", "inferkit": "1.0 aa", "mine": "2.0 bb"}
    assert versions.difference(mine, mine, "w", packages) is None
    for theirs, message in (
        ({**mine, "python": "3.12"}, "w runs Python 3.12, this process 3.11"),
        ({**mine, "mine": "2.1 bb"}, r"w has my-model 2.1, this process 2.0[\s\S]*send = "),
        ({**mine, "mine": "2.0 cc"}, "other code"),
        ({"python": "3.11", "mine": "2.0 bb"}, r"w lacks inferkit[\s\S]*pip install inferkit==1.0"),
    ):
        with pytest.raises(ExecutorError, match=message):
            raise versions.difference(mine, theirs, "w", packages)


def test_a_worker_with_another_version_is_refused(outside, tmp_path, monkeypatch):
    real = versions.told
    monkeypatch.setattr(versions, "told", lambda p: {**real(p), "inferkit": "9.9 abc"})
    with pytest.raises(ExecutorError, match="has inferkit 0.* this process 9.9"):
        study(tmp_path / "run", ik.executor("dask", address=outside.address)).simulate(20)


def test_a_worker_that_joins_later_is_checked_too(tmp_path):
    from inferkit_dask.config import DaskConfig

    run = host.Run("r", "{}", {}, {"inferkit": "inferkit"}, {"python": "3.11", "inferkit": "9.9 x"})

    class Worker:
        name = "w"

    there = host.Host(run)
    there.setup(Worker())
    receipt = there.run_chunk(Chunk("c", 0, np.arange(2), {"a": np.zeros(2)}))
    there.teardown(Worker())
    assert "has inferkit" in str(receipt.error) or "other code" in str(receipt.error)
    assert DaskConfig().own


PLUGIN = """
from inferkit.plugins import hookimpl
from inferkit.plugins import SimulatorSpec

@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(name="faraway", summary="a model", target="faraway.model:Model",
                        batch_invariant=True)
"""
MODEL = """
import numpy as np
from inferkit.seeds import normals

class Model:
    parameters = outputs = None
    def simulate(self, theta, seeds):
        return {"x": theta["a"][:, None] + normals(seeds, (2,))}
"""
SCRIPT = """
import sys
import inferkit as ik
study = ik.Study(ik.simulator("faraway"), ik.Prior({"a": ik.Uniform(0, 1)}), quiet=True, path="run",
                 executor=ik.executor("dask", address=sys.argv[1], send=sys.argv[2:]))
study.simulate(50)
print(len(study.simulations.ok))
"""


def test_a_plugin_that_the_workers_lack_is_sent(outside, tmp_path):
    site = tmp_path / "site"
    (site / "faraway").mkdir(parents=True)
    (site / "faraway-1.0.dist-info").mkdir()
    (site / "faraway/__init__.py").write_text("")
    (site / "faraway/plugin.py").write_text(PLUGIN)
    (site / "faraway/model.py").write_text(MODEL)
    (site / "faraway-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: faraway\nVersion: 1.0\n")
    (site / "faraway-1.0.dist-info/entry_points.txt").write_text(
        "[inferkit]\nfaraway = faraway.plugin\n")
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))

    def go(*send):
        return subprocess.run([sys.executable, "script.py", outside.address, *send], cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True,
                              text=True, timeout=60)

    lacking = go()
    assert "lacks faraway (here: 1.0)" in lacking.stderr and 'send = ["faraway"]' in lacking.stderr
    sent = go("faraway")
    assert sent.stdout.strip() == "50", sent.stderr


# -- its own cluster -------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "protocol"), [({}, "tls://"), ({"secure": False}, "tcp://")])
def test_a_local_cluster_is_encrypted_unless_told(tmp_path, serial, monkeypatch, told, protocol):
    from inferkit_dask import loopback

    made, start = [], loopback.start
    monkeypatch.setattr(loopback, "start", lambda *args: made.append(start(*args)) or made[-1])
    s = study(tmp_path / "run", ik.executor("dask", threads=2, dashboard="off", **told))
    s.simulate(300)
    assert s.simulations.digest() == serial
    assert made[0].scheduler_address.startswith(protocol)


def test_a_script_needs_no_guard_and_leaves_nothing_behind(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent("""
        import inferkit as ik, sys
        print("once")
        study = ik.Study(lambda t, rng: t["a"] + rng.normal(), ik.Prior({"a": ik.Uniform(0, 1)}),
                         executor="dask", path="run", quiet=True)
        study.simulate(int(sys.argv[1]))
    """))
    done = subprocess.run([sys.executable, str(script), "100"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=60)
    assert done.stdout.split() == ["once"] and done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr


def test_killed_client_leaves_no_process(tmp_path):
    code = ("import inferkit as ik, time\n"
            "s = ik.Study(lambda t, rng: time.sleep(.01) or t['a'], ik.Prior({'a': ik.Uniform(0, 1)}),"
            " executor=ik.executor('dask', workers=2), path='run', quiet=True)\ns.simulate(10**6)")
    client = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    end = time.monotonic() + 30
    while not list(tmp_path.glob("run/shards/*")) and time.monotonic() < end:
        time.sleep(0.1)
    started = descendants(client.pid)
    client.kill()
    client.wait()
    assert len(started) >= 3
    end = time.monotonic() + 15
    while (left := [p for p in started if _alive(p)]) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_adaptive_cluster_grows_and_the_window_with_it(tmp_path):
    s = study(tmp_path / "run", ik.executor("dask", minimum=0, maximum=3, threads=1, window=3),
              lambda t, rng: time.sleep(0.02) or t["a"])
    seen = []

    def show(progress):
        seen.append((s.running.runner.workers, s.running.runner.slots))

    s.reporter, show.say = show, lambda text: None
    s.simulate(400)
    assert max(w for w, _ in seen) >= 2 and all(n == 3 * w for w, n in seen)
    assert len(s.simulations) == 400


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "message"), [
    ({"address": "host:8786"}, "tcp://host:8786"),
    ({"address": "tcp://h:1", "scheduler_file": "f"}, "both address and scheduler_file"),
    ({"address": "tcp://h:1", "cluster": "slurm"}, "address for a cluster that runs"),
    ({"workers": 0}, "1 or more"), ({"maximum": 2, "workers": 2}, "adaptive"),
    ({"minimum": 2}, "without maximum"), ({"minimum": 3, "maximum": 2}, "the larger last"),
    ({"options": {"queue": "x"}}, "batch queue"), ({"memory": "lots"}, "no amount of memory"),
    ({"worker": 2}, "did you mean 'workers'"), ({"patience": 0.0}, "more than 0"),
    ({"tls": {"ca": "a", "cert": "b", "key": "c"}}, "no file a"),
])
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        ik.executor("dask", **settings)


def test_a_client_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="distributed.Client"):
        study(tmp_path / "run", ik.executor("dask", client=3)).simulate(5)


@pytest.mark.parametrize(("text", "seconds"), [
    ("01:00:00", 3600), ("1-02:30:00", 95400), ("02:30", 150), ("90", 5400), ("", 0), ("soon", 0),
])
def test_walltimes(text, seconds):
    assert clusters.parse_walltime(text) == seconds
    assert clusters.parse_walltime("02:30", hours_first=True) == 9000


def test_an_own_cluster_listens_on_loopback_alone(tmp_path):
    """Scheduler, workers and the workers' HTTP servers: nothing that another machine reaches."""
    def looks(theta, rng):
        import psutil

        for process in [psutil.Process().parent(), *psutil.Process().parent().parents()[:1]]:
            seen_here = {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"}
            with (tmp_path / "ips").open("a") as f:
                f.write("".join(f"{ip}\n" for ip in seen_here))
        return theta["a"]

    s = study(tmp_path / "run", ik.executor("dask", workers=2), function=looks)
    s.simulate(20)
    seen = set((tmp_path / "ips").read_text().split())
    assert seen == {"127.0.0.1"}
