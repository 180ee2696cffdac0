"""Simulating: the same bytes whatever the executor, chunks or interruptions; failures are data."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import inferkit as ik
from inferkit import seeds
from inferkit.errors import ConfigError, ExecutorError, SimulatorError, StoreError
from inferkit.store import Simulations, Store

sys.path.insert(0, str(Path(__file__).parent))
import models  # noqa: E402

PRIOR = {"a": ik.Uniform(0.0, 1.0)}


def study(tmp_path, function=models.noisy, workers=0, name="run", seed=3, settings=None, **options):
    return ik.Study(ik.simulator(function, **options.pop("spec", {})), ik.Prior(PRIOR),
                    executor=ik.executor("local", workers=workers, **(settings or {})),
                    path=tmp_path / name, seed=seed, quiet=True, **options)


# -- seeds ------------------------------------------------------------------------------------


def test_seeds_depend_on_study_round_and_index_alone():
    whole = seeds.row_seeds(5, 0, np.arange(10_000))
    assert len(np.unique(whole)) == 10_000
    assert np.array_equal(seeds.row_seeds(5, 0, np.array([77, 3])), whole[[77, 3]])
    for other in (seeds.row_seeds(6, 0, np.arange(100)), seeds.row_seeds(5, 1, np.arange(100))):
        assert not np.isin(other, whole).any()


def test_large_words_do_not_collide():
    """SeedSequence reads the key (2**32 + 5,) like (5, 1); ours must not."""
    a = seeds.row_seeds(1, 2**32 + 5, np.arange(3))
    assert not np.array_equal(a, seeds.row_seeds(1, 5, np.arange(3)))


def test_row_noise_is_the_same_in_every_batch_and_is_normal():
    from scipy import stats

    s = seeds.row_seeds(1, 0, np.arange(4000))
    whole = seeds.normals(s, (5,))
    assert np.array_equal(seeds.normals(s[100:107], (5,)), whole[100:107])
    assert np.array_equal(whole[9], seeds.rng(s[9]).standard_normal(5))
    assert stats.kstest(whole.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(whole.T)[0, 1]) < 0.05
    assert abs(np.corrcoef(whole[:-1, 0], whole[1:, 0])[0, 1]) < 0.05
    assert seeds.normals(s[:0], (5,)).shape == (0, 5)
    assert seeds.uniforms(s[:3], (2, 2)).shape == (3, 2, 2)


# -- the same bytes ------------------------------------------------------------------------------


def test_workers_chunks_and_growth_give_the_same_bytes(tmp_path):
    serial = study(tmp_path, name="serial")
    serial.simulate(300)
    digest = serial.simulations.digest()
    pool = study(tmp_path, workers=3, name="pool")
    pool.simulate(40)
    pool.simulate(300)
    assert pool.simulations.digest() == digest
    assert study(tmp_path, name="other", seed=4).simulate(300).done == 300
    assert Simulations(study(tmp_path, name="other", seed=4).store, 0).digest() != digest


def test_a_slow_simulator_leaves_few_shards(tmp_path, monkeypatch):
    """Chunks of one row, as for simulations of 10 s (said, not spent): merged while it runs."""
    from inferkit.simulate import local

    def slow(job, chunk, **more):
        receipt = run_chunk(job, chunk, **more)
        receipt.seconds = 10.0 * receipt.rows
        seen.append(len(list((tmp_path / "run/shards").iterdir())))
        return receipt

    run_chunk, seen = local.run_chunk, []
    monkeypatch.setattr(local, "run_chunk", slow)
    one = study(tmp_path)
    one.simulate(1500)
    assert len(seen) > 1000 and max(seen) < 400 and len(one.store.shards()) < 5
    monkeypatch.undo()
    quick = study(tmp_path, name="quick")
    quick.simulate(1500)
    assert one.simulations.digest() == quick.simulations.digest()


def test_stored_rows_are_not_run_again(tmp_path):
    one = study(tmp_path)
    assert one.simulate(100).done == 100
    assert one.simulate(100).done == 0
    assert study(tmp_path).simulate(130).done == 30


def test_vectorised_simulator_agrees_with_any_batching(tmp_path):
    spec = {"vectorised": True, "batch_invariant": True}
    whole = study(tmp_path, models.vectorised, spec=spec)
    whole.simulate(5000)
    theta, x = whole.simulations.theta["a"], whole.simulations.x()["x"]
    s = seeds.row_seeds(3, 0, np.arange(5000))
    assert np.array_equal(x, models.vectorised({"a": theta}, s)["x"])


def test_compiled_batches_are_padded_to_one_size(tmp_path):
    class Compiled:
        parameters = outputs = None

        def simulate(self, theta, row_seeds):
            return {"x": theta["a"] * 2, "n": np.full(len(row_seeds), len(row_seeds))}

    thing = ik.own_simulator(Compiled())
    import dataclasses

    thing = dataclasses.replace(thing, spec=dataclasses.replace(thing.spec, batch_size=64))
    s = ik.Study(thing, ik.Prior(PRIOR), executor=ik.executor("local", workers=0),
                 path=tmp_path / "run", quiet=True)
    s.simulate(100)
    assert len(s.simulations) == 100 and set(s.simulations.x()["n"]) == {64}
    assert np.array_equal(s.simulations.x()["x"], s.simulations.theta["a"] * 2)


# -- failures ------------------------------------------------------------------------------------


def test_each_failure_has_its_status_and_spares_its_neighbours(tmp_path):
    s = study(tmp_path, models.mixed, workers=2, timeout=0.4)
    s.simulate(1000)
    table = s.simulations
    a = table.theta["a"]
    expected = np.full(1000, "ok", object)
    expected[(a > 0.50) & (a < 0.51)] = "exception"
    expected[(a > 0.60) & (a < 0.61)] = "nonfinite"
    expected[(a > 0.700) & (a < 0.703)] = "crash"
    expected[(a > 0.800) & (a < 0.802)] = "timeout"
    from inferkit.store import STATUS

    assert np.array_equal(np.array(STATUS, object)[table.status], expected)
    assert set(expected) == {"ok", "exception", "nonfinite", "crash", "timeout"}
    told = dict(zip(expected, table.messages))
    assert "a is in the gap" in told["exception"] and "executor.py" in told["exception"]
    assert "died 3 times" in told["crash"] and "longer than 0.4 s" in told["timeout"]
    assert "NaN or Inf in x" in told["nonfinite"]


def test_a_worker_ended_from_outside_is_replaced(tmp_path):
    """SIGTERM says stop; a worker that obeys it for ever would hand its chunk back for ever."""
    def slow(theta, rng):
        time.sleep(0.01)
        return {"x": np.array([theta["a"], float(os.getpid())])}

    s = study(tmp_path, slow, workers=1)
    ended = []

    def end_it_once(progress):
        workers = [w.process for w in s.running.runner._held if w.process is not None]
        if progress.done and workers and not ended:
            workers[0].terminate()
            ended.append(workers[0].pid)

    s.reporter = end_it_once
    s.reporter.say = lambda text: None
    s.simulate(200)
    pids = set(s.simulations.x()["x"][:, 1])
    assert len(s.simulations) == 200 and (s.simulations.status == 0).all()
    assert ended and len(pids) == 2 and ended[0] in pids


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["ignores", "clears", "stops"])
def test_a_row_that_evades_its_alarm_is_convicted(how, tmp_path, monkeypatch):
    monkeypatch.setattr("inferkit.simulate.local.LATE", 0.5)

    def evades(theta, rng):
        if theta["a"] > 0.9:
            if how == "ignores":
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
            elif how == "clears":
                signal.setitimer(signal.ITIMER_REAL, 0)
            else:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1000)
        return theta["a"]

    s = study(tmp_path, evades, workers=2, timeout=0.3, seed=4)
    s.simulate(30)
    late = s.simulations.theta["a"] > 0.9
    assert late.any() and (s.simulations.status[late] == 3).all()
    assert (s.simulations.status[~late] == 0).all()
    assert "ran longer than 0.3 s" in s.simulations.messages[np.flatnonzero(late)[0]]


def test_an_exception_that_cannot_speak_is_a_row(tmp_path):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def f(theta, rng):
        if theta["a"] > 0.5:
            raise Mute
        return theta["a"]

    s = study(tmp_path, f)
    s.simulate(40)
    told = {m for m in s.simulations.messages if m}
    assert len(told) == 1 and "its __str__ raised RuntimeError" in told.pop()


def test_names_that_the_store_keeps_for_itself(tmp_path):
    s = study(tmp_path, lambda theta, rng: {"x#values": theta["a"]})
    with pytest.raises(SimulatorError, match="an output is named 'x#values'"):
        s.simulate(30)


def test_timeout_without_workers(tmp_path):
    s = study(tmp_path, lambda t, rng: time.sleep(5) if t["a"] > 0.9 else t["a"], timeout=0.2)
    s.simulate(60)
    slow = s.simulations.theta["a"] > 0.9
    assert slow.any()
    assert (s.simulations.status[slow] == 3).all() and (s.simulations.status[~slow] == 0).all()


def test_a_deadly_row_in_a_vectorised_batch_is_found(tmp_path):
    s = study(tmp_path, models.deadly_batch, workers=1, spec={"vectorised": True})
    s.simulate(400)
    deadly = s.simulations.theta["a"] > 0.99
    assert 0 < deadly.sum() < 12
    assert np.array_equal(s.simulations.status == 5, deadly)


def test_memory_limit_is_a_status(tmp_path):
    s = study(tmp_path, lambda t, rng: models.hungry(t, rng) if t["a"] > 0.9 else t["a"],
              workers=1, settings={"memory": "2GB"})
    s.simulate(40)
    assert (s.simulations.status[s.simulations.theta["a"] > 0.9] == 4).all()
    assert s.simulations.status.max() == 4


def test_workers_have_one_thread_and_are_not_forks(tmp_path):
    def tells(theta, rng):
        return {"threads": float(os.environ["OMP_NUM_THREADS"]), "parent": float(os.getppid()),
                "forked": float("pytest" in sys.modules)}

    s = study(tmp_path, tells, workers=1)
    s.simulate(3)
    x = s.simulations.x()
    assert (x["threads"] == 1).all() and (x["parent"] == os.getpid()).all()
    assert (x["forked"] == 0).all()


def test_leaky_workers_are_replaced(tmp_path):
    """32 MB a row leak; a worker that has grown by 200 MB goes."""
    s = study(tmp_path, models.leaky, workers=1, settings={"recycle_growth": "200MB"})
    s.running.runner = s.executor.build()
    s.running.runner.open(s.running.job())
    try:
        started = []
        from inferkit.data import Chunk

        for k in range(6):
            index = np.arange(4 * k, 4 * k + 4)
            s.running.runner.submit(Chunk(f"c{k}", 0, index, {"a": index / 100}))
            (receipt,) = s.running.runner.wait(60)
            assert receipt.counts == {"ok": 4}
            started.append(receipt.rss)
    finally:
        s.running.runner.close()
        s.running.runner = None
    assert max(started) < 6 * 4 * 32e6  # it never held all of what leaked
    assert min(started[1:]) < max(started)


def test_sys_exit_and_prints_do_no_harm(tmp_path):
    def rude(theta, rng):
        print("hello " * 100)
        os.write(1, b"raw noise")
        if theta["a"] > 0.9:
            sys.exit("enough")
        return theta["a"]

    s = study(tmp_path, rude, workers=1)
    p = s.simulate(60)
    assert p.counts["ok"] + p.counts["exception"] == 60 and p.counts["exception"] > 0


@pytest.mark.parametrize(("function", "message"), [
    (lambda t, rng: None, "returned None"),
    (lambda t, rng: {"x": "text"}, "not stored"),
    (lambda t, rng: {"x": [1, [2, 3]]}, "inhomogeneous|unequal length"),
    (lambda t, rng: 1 / 0, "ZeroDivisionError"),
    (lambda t, rng: t["b"], "KeyError: 'b'"),
    (lambda t, rng: 1j, "complex"),
])
def test_a_simulator_that_never_works_stops_early_and_says_why(tmp_path, function, message):
    s = study(tmp_path, function)
    with pytest.raises(SimulatorError, match=message) as error:
        s.simulate(500)
    assert "simulations failed" in str(error.value)
    assert len(s.simulations) < 100


@pytest.mark.parametrize("result", [
    lambda n: {"x": np.zeros((0, n))}, lambda n: {"x": np.zeros(n + 1)}, lambda n: {"x": 1.0},
    lambda n: np.zeros((n, 2)).tolist(), lambda n: {},
])
def test_wrong_shapes_of_a_vectorised_simulator(tmp_path, result):
    s = study(tmp_path, lambda theta, seeds: result(len(seeds)),
              spec={"vectorised": True})
    try:
        s.simulate(100)
    except SimulatorError as error:
        assert "batch comes first" in str(error) or "dict of arrays" in str(error)
    else:  # a plain list of the right length is an array
        assert s.simulations.x()["x"].shape == (100, 2)


def test_rows_of_another_shape_are_invalid_not_fatal(tmp_path):
    s = study(tmp_path, lambda t, rng: np.zeros(3 if t["a"] < 0.8 else 4))
    s.simulate(200)
    odd = s.simulations.theta["a"] >= 0.8
    assert (s.simulations.status[odd] == 6).all() and (s.simulations.status[~odd] == 0).all()


def test_declared_outputs_are_enforced(tmp_path):
    class Declared:
        parameters = (ik.Parameter("a"),)
        outputs = (ik.Output("x", (2,)),)

        def simulate(self, theta, row_seeds):
            return {"y": theta["a"]}

    s = ik.Study(Declared(), ik.Prior(PRIOR), path=tmp_path / "run", quiet=True,
                 executor=ik.executor("local", workers=0))
    with pytest.raises(SimulatorError, match="declared outputs"):
        s.simulate(50)


def test_a_simulator_that_cannot_be_built_in_the_worker(tmp_path):
    s = study(tmp_path, workers=1)
    job = s.running.job()
    import dataclasses

    from inferkit.data import Chunk
    from inferkit.simulate.local import LocalConfig, LocalExecutor

    bad = dataclasses.replace(job, simulator={"role": "simulator", "name": "nosuch", "package": "",
                                              "config": {}})
    executor = LocalExecutor(LocalConfig(workers=1))
    executor.open(bad)
    executor.submit(Chunk("c", 0, np.arange(2), {"a": np.zeros(2)}))
    (receipt,) = executor.wait(60)
    executor.close()
    assert "unknown simulator 'nosuch'" in str(receipt.error)


def test_workers_that_die_at_birth_end_in_an_error(tmp_path):
    class Deadly:
        parameters = outputs = None

        def prepare(self):
            os._exit(1)

        def simulate(self, theta, row_seeds):
            return {"x": theta["a"]}

    s = ik.Study(Deadly(), ik.Prior(PRIOR), path=tmp_path / "run", quiet=True,
                 executor=ik.executor("local", workers=1))
    with pytest.raises(ExecutorError, match="die before"):
        s.simulate(10)


# -- wrong studies -------------------------------------------------------------------------------


def test_unknown_parameters_are_refused_before_anything_runs(tmp_path):
    s = ik.Study(ik.simulator("lif"), ik.Prior({"taus": ik.Uniform(1, 2)}), path=tmp_path / "r")
    with pytest.raises(ConfigError, match="did you mean 'tau'"):
        s.simulate(10)


def test_a_changed_study_is_refused_and_nothing_is_lost(tmp_path):
    study(tmp_path).simulate(50)
    changed = ik.Study(ik.simulator(models.noisy), ik.Prior({"a": ik.Uniform(0.0, 2.0)}),
                       path=tmp_path / "run", seed=3, quiet=True)
    with pytest.raises(StoreError, match=r"prior\.a\.high: was 1\.0, now 2\.0"):
        changed.simulate(60)
    other_code = study(tmp_path, models.ignores_seed)
    with pytest.raises(StoreError, match="simulator"):
        other_code.simulate(60)
    assert len(study(tmp_path).simulations) == 50


@pytest.mark.parametrize("n", [0, -3, 2.5, "many", True])
def test_bad_counts(tmp_path, n):
    with pytest.raises(ConfigError):
        study(tmp_path).simulate(n)


# -- interruptions -------------------------------------------------------------------------------

SCRIPT = """
    import sys
    sys.path.insert(0, {folder!r})
    import inferkit as ik, models
    study = ik.Study(ik.simulator(models.{model}), ik.Prior({{"a": ik.Uniform(0.0, 1.0)}}),
                     executor=ik.executor("local", workers={workers}), path={path!r}, seed=3,
                     timeout=0.4)
    print("go", flush=True)
    study.simulate({n})
"""


def start(path, n, workers=2, model="mixed"):
    code = textwrap.dedent(SCRIPT).format(folder=str(Path(__file__).parent), model=model,
                                          workers=workers, path=str(path), n=n)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)


def stored(path):
    return len(Simulations(Store.existing(path), 0)) if any(path.glob("shards/*")) else 0


def test_ctrl_c_keeps_what_finished(tmp_path):
    process = start(tmp_path / "run", 100_000)
    process.stdout.readline()
    while stored(tmp_path / "run") <= 50:  # pytest's time limit ends it if none come
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    kept = len(Simulations(Store.existing(tmp_path / "run"), 0))
    assert kept > 50
    assert not any(f.name.startswith(".tmp") for f in (tmp_path / "run/shards").iterdir())


def test_kill_9_and_resume(tmp_path):
    """Three kills at different moments; the resumed run equals an undisturbed one."""
    kept = [0]
    for wait in (0.0, 0.3, 0.6):
        process = start(tmp_path / "run", 700)
        process.stdout.readline()
        while process.poll() is None and stored(tmp_path / "run") <= kept[-1]:
            time.sleep(0.05)
        time.sleep(wait)
        process.kill()
        process.wait()
        kept.append(stored(tmp_path / "run"))
    assert kept == sorted(kept) and kept[-1] > 0
    resumed = study(tmp_path, models.mixed, workers=1, timeout=0.4)
    resumed.simulate(700)
    whole = study(tmp_path, models.mixed, workers=2, name="whole", timeout=0.4)
    whole.simulate(700)
    assert resumed.simulations.digest() == whole.simulations.digest()


def test_a_worker_killed_from_outside_costs_nothing(tmp_path):
    process = start(tmp_path / "run", 800, workers=2)
    process.stdout.readline()
    rng = np.random.default_rng(0)
    for _ in range(5):
        time.sleep(0.5)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        workers = [int(p) for p in found.stdout.split()]
        if workers and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it was just being replaced
                os.kill(int(rng.choice(workers)), signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    whole = study(tmp_path, models.mixed, workers=2, name="whole", timeout=0.4)
    whole.simulate(800)
    again = study(tmp_path, models.mixed, timeout=0.4)
    assert again.simulations.digest() == whole.simulations.digest()


def test_orphans_leave(tmp_path):
    process = start(tmp_path / "run", 100_000)
    process.stdout.readline()
    end = time.monotonic() + 30
    workers = []
    while len(workers) < 2 and time.monotonic() < end:
        time.sleep(0.2)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        workers = [int(p) for p in found.stdout.split()]
    assert len(workers) == 2
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(Path(f"/proc/{w}").exists() for w in workers):
        time.sleep(0.1)
    assert not any(Path(f"/proc/{w}").exists() for w in workers)


def test_a_flat_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "flat.py"
    script.write_text(textwrap.dedent(f"""
        import numpy as np
        import inferkit as ik

        def helper(a):
            return 2 * a

        def simulate(theta, rng):
            return np.array([helper(theta["a"]), rng.standard_normal()])

        study = ik.Study(simulate, ik.Prior({{"a": ik.Uniform(0, 1)}}),
                         executor=ik.executor("local", workers=2), path={str(tmp_path / "run")!r})
        print(study.simulate(200).done)
    """))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "200", done.stderr


class Explains:
    """A vectorised simulator that says why a row is NaN."""

    def simulate(self, theta, seeds):
        x = np.where(theta["a"] > 0.5, np.nan, theta["a"])
        self.messages = {int(i): f"row {i} left the road" for i in np.flatnonzero(np.isnan(x))}
        return {"x": x}


def test_a_simulator_says_why_rows_are_not_finite(tmp_path):
    study = ik.Study(ik.simulator(Explains()), ik.Prior({"a": ik.Uniform(0.0, 1.0)}),
                     path=tmp_path / "run",
                     executor=ik.executor("local", workers=0), seed=1, quiet=True)
    study.simulate(20)
    table = study.simulations
    bad = np.asarray(table.theta["a"]) > 0.5
    assert 0 < bad.sum() < 20 and ((np.asarray(table.status) != 0) == bad).all()
    assert all("left the road" in m for m, b in zip(table.messages, bad) if b)
