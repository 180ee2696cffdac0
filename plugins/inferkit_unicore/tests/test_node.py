"""What runs on the node: the staged script, packages, ranks, and `inferkit.simulate.node` itself."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from inferkit_unicore import staging
from inferkit_unicore.config import UnicoreConfig
from unicore_helpers import N, local_digest, noisy, prior, remote_study, slow, wait_for

import inferkit as ik
from inferkit import simulate
from inferkit.data import Chunk
from inferkit.simulate import node


def deadly(theta, rng):
    """Mixed cost and every way to fail; the same rows fail the same way each time."""
    a = theta["a"]
    if 0.30 < a < 0.34:
        raise ValueError("no solution")
    if 0.50 < a < 0.54:
        os.kill(os.getpid(), signal.SIGKILL)
    if 0.60 < a < 0.62:
        time.sleep(60)
    time.sleep(0.002 if a < 0.9 else 0.02)
    return {"x": rng.normal(size=3) * (np.nan if 0.70 < a < 0.75 else 1.0)}


def test_crash_hang_exception_nan_on_the_node(site, tmp_path):
    n = 60
    local = ik.Study(deadly, prior(), path=tmp_path / "l", seed=7, quiet=True, timeout=0.4,
                     executor=ik.executor("local", workers=1))
    local.simulate(n)
    study = remote_study(site, tmp_path / "run", deadly, timeout=0.4, workers=2, rows_per_job=30)
    study.simulate(n)
    counts = study.simulations.counts
    assert all(counts[s] for s in ("ok", "exception", "nonfinite", "crash", "timeout")), counts
    assert study.simulations.digest() == local.simulations.digest()
    assert len(site.posted) == 2


def test_several_nodes_a_job(site, finish, tmp_path):
    launcher = tmp_path / "two"
    launcher.write_text("#!/bin/bash\nfor r in 0 1; do SLURM_PROCID=$r SLURM_NTASKS=2 \"$@\" & "
                        "done\nwait\n")
    launcher.chmod(0o700)
    finish(nodes=2, launcher=str(launcher), rows_per_job=N)
    (job,) = site.jobs.values()
    assert len(list(job.folder.glob("manifest-*.jsonl"))) == 2
    assert site.posted[0]["Resources"]["Nodes"] == 2


def test_packages_and_files_are_sent_once(site, tmp_path, digest):
    def where(theta, rng):
        import inferkit

        staged = os.environ["INFERKIT_STAGE"]
        with open(os.path.join(staged, "table", "numbers.txt")) as f:  # noqa: PTH118, PTH123
            number = float(f.read())
        return {"staged": float(inferkit.__file__.startswith(staged)), "number": number,
                "set": float(os.environ["MY SETTING".replace(" ", "_")] == "a b;c $HOME")}

    (tmp_path / "table").mkdir()
    (tmp_path / "table/numbers.txt").write_text("42")
    told = {"packages": ["inferkit"], "stage": [str(tmp_path / "table")],
            "environment": {"MY_SETTING": "a b;c $HOME"}, "setup": ["export MORE=1", "cd ."]}
    study = remote_study(site, tmp_path / "run", where, **told)
    study.simulate(N)
    x = study.simulations.x()
    assert x["staged"].min() == 1 and x["number"].max() == 42 and x["set"].min() == 1
    assert site.count("PUT", "storages/HOME") == 1  # for two jobs
    study.simulate(N + 4)
    assert site.count("PUT", "storages/HOME") == 1  # and for another process
    (staged,) = (site.root / "storages/HOME/inferkit-staged").iterdir()
    assert staged.name.endswith(".tar.gz") and ".part" not in staged.name
    from inferkit_unicore import commands

    commands.clean(tmp_path / "run", force=True)
    assert not staged.exists()


def test_a_staged_archive_that_came_damaged(site, tmp_path):
    (tmp_path / "more").write_text("x" * 5000)
    study = remote_study(site, tmp_path / "run", stage=[str(tmp_path / "more")])
    data = staging.payload(study.executor.config)
    file = site.root / "storages/HOME" / staging.payload_name(data)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data[:-1] + b"!")  # the right size, the wrong content
    with pytest.raises(ik.errors.ExecutorError, match="came damaged"):
        study.simulate(N)


def test_the_payload_depends_on_content_only(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d/f").write_text("same")
        (tmp_path / name / "d/__pycache__").mkdir()
        (tmp_path / name / "d/__pycache__/x.pyc").write_text(name)
        os.utime(tmp_path / name / "d/f", (1, hash(name) % 10**6))
    a, b = (staging.payload(UnicoreConfig(site="x", stage=[str(tmp_path / n / "d")]))
            for n in ("a", "b"))
    assert a == b


def test_the_script_quotes_what_it_is_given():
    config = UnicoreConfig(
        site="x", modules=["GCC/12; rm -rf /"], environment={"A": "'; echo $(id)"},
        container="/images/my sim.sif", python="/opt/my python/bin/python")
    text = staging.script(config).decode()
    assert "module load 'GCC/12; rm -rf /'" in text
    assert "'/images/my sim.sif' '/opt/my python/bin/python' -m inferkit.simulate.node" in text
    assert subprocess.run(["bash", "-n"], input=text.encode(), check=False).returncode == 0


def test_the_description_uses_what_servers_know():
    config = UnicoreConfig(
        site="x", project="p", queue="q", nodes=2, launcher="srun", cpus_per_node=48, runtime="2h",
        memory_per_node="16G", reservation="r", qos="o", constraints="c", resources={"GPUs": 1})
    told = staging.description(config, "tag", "chunk", 10, "https://h/files/x")
    assert told["Resources"] == {
        "Runtime": "7200", "Nodes": 2, "Queue": "q", "CPUsPerNode": 48, "MemoryPerNode": "16G",
        "Reservation": "r", "QoS": "o", "NodeConstraints": "c", "Project": "p", "GPUs": 1}
    assert told["Tags"] == ["tag", "inferkit-chunk-chunk"] and told["haveClientStageIn"] == "true"
    assert told["Arguments"] == ["inferkit.sh"]  # nothing that bash could take apart


# -- inferkit.simulate.node by itself --------------------------------------------------------------


@pytest.fixture
def batch(tmp_path):
    def stage(index, function=slow, **settings):
        study = ik.Study(function, prior(), path=tmp_path / "study", seed=7, quiet=True)
        draw = simulate.PriorDraws(study.prior, 7)
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        chunk = Chunk("c", 0, index, draw(index))
        for name, data in node.write_batch(study.running.job(), chunk, **settings).items():
            (folder / name).write_bytes(data)
        return folder

    return stage


def start(folder, **env):
    return subprocess.Popen([sys.executable, "-m", "inferkit.simulate.node", node.JSON], cwd=folder,
                            env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)


def manifest(folder, rank=0):
    return node.read_manifest((folder / node.manifest_name(rank)).read_bytes())[0]


def published(folder):
    return sum(len(node.from_ranges(m["rows"])) for m in manifest(folder) if m["kind"] == "shard")


def test_a_signal_ends_it_in_order(batch):
    """What finished is published, as a batch system's warning should make it."""
    def marking(theta, rng):
        with open(os.environ["MARK"], "a") as f:  # noqa: PTH123
            f.write("x")
        return slow(theta, rng)

    folder = batch(np.arange(100), marking, workers=1, publish_seconds=60.0)
    mark = folder / "mark"
    process = start(folder, MARK=str(mark))
    wait_for(lambda: mark.exists() and mark.stat().st_size > 10)
    process.terminate()
    assert process.wait(15) == 0
    end = manifest(folder)[-1]
    assert (end["kind"], end["why"]) == ("end", "signal") and 0 < end["rows"] < 100
    assert published(folder) == end["rows"]


def test_kill_9_leaves_only_whole_shards(batch):
    folder = batch(np.arange(100), workers=1, publish_seconds=0.1)
    process = start(folder)
    wait_for(lambda: (folder / node.manifest_name(0)).exists() and published(folder) > 3)
    process.kill()
    process.wait(5)
    for line in manifest(folder):
        if line["kind"] == "shard":
            data = (folder / line["name"]).read_bytes()
            assert len(data) == line["size"] and not node.Held("s", data).damaged.any()


def test_time_is_up(batch):
    folder = batch(np.arange(200), workers=0, stop_after=0.1, publish_seconds=60.0)
    # The clock starts with the job, not with Python.
    process = start(folder, INFERKIT_STARTED=str(int(time.time()) - 1))
    assert process.wait(15) == 0
    assert manifest(folder)[-1]["why"] == "time"


def test_staged_files_that_do_not_belong_together(batch):
    folder = batch(np.arange(4))
    told = json.loads((folder / node.JSON).read_text())
    told["sha256"] = "0" * 64
    (folder / node.JSON).write_text(json.dumps(told))
    assert start(folder).wait(15) == 4


def test_a_manifest_is_read_up_to_the_first_line_that_is_not_whole():
    lines = [node.seal({"kind": "shard", "name": str(i)}) for i in range(3)]
    text = b"".join(lines)
    assert [m["name"] for m in node.read_manifest(text)[0]] == ["0", "1", "2"]
    assert node.read_manifest(text[:-1]) == node.read_manifest(b"".join(lines[:2]))
    assert len(node.read_manifest(text.replace(b'"1"', b'"7"'))[0]) == 1
    assert node.read_manifest(b'{"errorMessage": "busy"}') == ([], 0)


def test_ranges():
    index = np.array([0, 1, 2, 5, 7, 8])
    assert node.to_ranges(index) == [[0, 3], [5, 6], [7, 9]]
    assert np.array_equal(node.from_ranges(node.to_ranges(index)), index)
    assert node.to_ranges(index[:0]) == [] and len(node.from_ranges([])) == 0


def test_noisy_is_deterministic(tmp_path, digest):
    assert local_digest(tmp_path / "again", noisy) == digest


def test_several_hangs_in_one_chunk_are_all_timeouts(tmp_path):
    """A worker's alarm file is used again: the journal must remember each row that hung."""
    from inferkit.simulate import Journal

    path = tmp_path / "c.journal"
    for row in (3, 5):
        journal = Journal(path)
        journal.run((row, row + 1))
        journal.alarm_file.write_text("traceback of where it hung")
        journal.close()
    Journal(path).close()
    assert Journal(path).timeouts == {(3, 4), (5, 6)}
