"""The store: what is written is read, what is damaged is found, and what is whole survives."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

from inferkit.data import Ragged
from inferkit.errors import BusyError, StoreError
from inferkit.store import STATUS, Rows, Shard, Simulations, Store, compact, encode


def rows(first=0, n=50, round=0, ragged=True):
    rng = np.random.default_rng(first)
    x = {"v": rng.normal(size=(n, 7)).astype(np.float32), "k": rng.integers(0, 9, n)}
    if ragged:
        x["spikes"] = Ragged.from_rows([rng.random(i % 4) for i in range(n)])
    status = np.zeros(n, np.uint8)
    status[3:4] = STATUS.index("exception")
    return Rows(round, np.arange(first, first + n), status, np.full(n, 0.1, np.float32),
                {"a": rng.random(n), "w": rng.random((n, 2))}, x,
                {first + 3: "ValueError: no"} if n > 3 else {})


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "run", {"simulator": {"name": "s"}, "seed": 1})


def test_round_trip(store):
    told = rows()
    store.write(told)
    table = Simulations(store, 0)
    assert np.array_equal(table.index, told.index)
    assert np.array_equal(table.theta["w"], told.theta["w"])
    x = table.x()
    assert np.array_equal(x["v"], told.x["v"]) and x["v"].dtype == np.float32
    assert x["spikes"] == told.x["spikes"]
    assert table.messages[3] == "ValueError: no" and not any(table.messages[:3])
    assert Simulations(store, 0).counts["exception"] == 1 and len(table.ok) == 49


def test_the_stock_library_reads_a_shard(store):
    from safetensors.numpy import load_file

    told = rows()
    held = load_file(store.folder / store.write(told))
    assert np.array_equal(held["x/v"], told.x["v"])
    assert np.array_equal(held["theta/a"], told.theta["a"])


def test_row_crc_is_over_index_status_theta_and_outputs():
    one = rows(n=4, ragged=False)
    expected = zlib.crc32(
        one.index[:1].astype("<i8").tobytes() + one.status[:1].tobytes()
        + one.theta["a"][:1].tobytes() + one.theta["w"][:1].tobytes()
        + one.x["k"][:1].tobytes() + one.x["v"][:1].tobytes()
    )
    from inferkit.store.shard import row_crcs

    assert row_crcs(one)[0] == expected


def test_duplicates_resolve_to_the_later_attempt(store):
    store.write(rows())
    again = rows()
    again.attempt, again.status = 1, np.zeros(50, np.uint8)
    store.write(again)
    assert len(Simulations(store, 0)) == 50
    assert Simulations(store, 0).counts["exception"] == 0


def test_batches_are_in_order_and_reach_every_row(store):
    for first in (100, 0, 50):
        store.write(rows(first))
    got = list(Simulations(store, 0).batches(37))
    assert np.array_equal(np.concatenate([b.index for b in got]), np.arange(150))
    assert all(b.messages == {int(i): "ValueError: no" for i in b.index if i % 50 == 3}
               for b in got)


@pytest.mark.parametrize("where", ["data", "header", "truncated", "empty"])
def test_damage_is_found_and_costs_no_more_than_it_must(store, where):
    name = store.write(rows(0))
    store.write(rows(50))
    file = store.folder / name
    data = bytearray(file.read_bytes())
    if where == "data":
        start = 8 + int.from_bytes(data[:8], "little")
        shard = Shard(file)
        offset = shard._header["x/v"]["data_offsets"][0]
        data[start + offset + 7 * 4 * 10] ^= 4  # row 10
    elif where == "header":
        at = data.index(b'"theta/a"')
        data[at + 7] = ord("z")
    elif where == "truncated":
        data = data[:-9]
    else:
        data = bytearray()
    file.write_bytes(data)
    fresh = Store.existing(store.path)
    if where == "data":
        with pytest.raises(StoreError, match="1 rows .* damaged.*"):
            Simulations(fresh, 0).x()
    lost = fresh.heal()
    assert lost == 1
    left = Simulations(Store.existing(store.path), 0)
    assert len(left) == (99 if where == "data" else 50)
    assert 10 not in left.index
    left.x()  # readable again
    assert (store.path / "damaged" / name).exists()


def test_every_single_bit_flip_is_found(store):
    """Flip each bit of a small shard in turn: none passes unseen, none breaks the reader."""
    pieces = encode(rows(n=2), store.key)
    whole = b"".join(pieces)
    file = store.folder / "r0000-flip.safetensors"
    file.write_bytes(whole)
    good = Shard(file)
    # Padding after the header and the seconds column carry no result.
    seconds = good._header["seconds"]["data_offsets"]
    header_end = 8 + int.from_bytes(whole[:8], "little")
    text_end = len(whole[:header_end].rstrip(b" "))
    free = set(range(text_end, header_end)) | set(
        range(header_end + seconds[0], header_end + seconds[1]))
    for i in range(len(whole)):
        if i in free:
            continue
        data = bytearray(whole)
        data[i] ^= 1 << (i % 8)
        file.write_bytes(data)
        try:
            shard = Shard(file)
        except StoreError:
            continue
        assert shard.damaged.any(), f"byte {i} of {len(whole)}"


def test_another_study_is_refused_with_what_changed(store):
    store.write(rows())
    with pytest.raises(StoreError, match=r"seed: was 1, now 2"):
        Store.create(store.path, {"simulator": {"name": "s"}, "seed": 2})


def test_a_foreign_shard_is_not_taken(store, tmp_path):
    other = Store.create(tmp_path / "other", {"seed": 9})
    name = other.write(rows())
    (store.folder / name).write_bytes((other.folder / name).read_bytes())
    assert store.present(0).size == 0
    assert "another study" in store.broken[name]


def test_damaged_identity(store):
    (store.path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Store.existing(store.path)


def test_no_run_here(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        Store.existing(tmp_path)


def test_compaction_keeps_every_byte(store):
    for first in range(0, 700, 10):
        store.write(rows(first, n=10))
    before = Simulations(store, 0).digest()
    assert compact(store) == 70
    assert len(list(store.folder.iterdir())) < 5
    table = Simulations(Store.existing(store.path), 0)
    assert table.digest() == before
    assert table.messages[3] == "ValueError: no"


def test_many_shards_need_few_descriptors(tmp_path):
    """3,000 shards under `ulimit -n 64`: read whole, checked, merged to the same bytes."""
    code = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        import numpy as np
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from inferkit.data import Ragged
        from inferkit.store import Rows, Simulations, Store, compact
        store = Store.create(Path(sys.argv[1]), {"seed": 1})
        for k in range(3000):
            store.write(Rows(0, np.array([k]), np.zeros(1, np.uint8), np.ones(1, np.float32),
                             {"a": np.array([k / 7])}, {"v": np.array([[k, 1.0]]),
                             "s": Ragged.from_rows([np.arange(k % 3) * 1.0])}))
        store.refuse_damage()
        table = Simulations(store, 0)
        assert (table.theta["a"] == np.arange(3000) / 7).all()
        before = table.digest()
        assert store.heal() == 0
        assert compact(store) == 3000
        assert Simulations(Store.existing(store.path), 0).digest() == before
        print(len(list(store.folder.iterdir())))
    """)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5


def test_half_written_files_are_ignored_and_tidied(store):
    store.write(rows())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname()
    stray = store.folder / f".tmp-{host}-{gone.pid}-abc"
    living = store.folder / f".tmp-{host}-{os.getpid()}-abc"
    elsewhere = store.folder / f".tmp-other-{gone.pid}-abc"
    for file in (stray, living, elsewhere):
        file.write_bytes(b"half")
        os.utime(file, (0, 0))  # the clock says that all are old
    assert len(Simulations(store, 0)) == 50
    store.tidy()
    assert not stray.exists() and living.exists() and elsewhere.exists()


def test_a_second_writer_is_told_who_writes(store):
    code = textwrap.dedent(f"""
        import sys, time
        from inferkit.store import Store
        s = Store.existing({str(store.path)!r})
        with s.writing():
            print("held", flush=True)
            sys.stdin.read()
    """)
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {other.pid}"), store.writing():
            pass
        assert Simulations(store, 0) is not None  # reading is always possible
    finally:
        other.kill()
        other.wait()
    with store.writing():  # its death freed the run
        pass


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 1 MB, where the machine lets us mount one."""
    point = tmp_path / "small"
    point.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)],
                          capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small file system needs root: " + made.stderr.decode().strip())
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def test_a_full_disk_loses_nothing(full_disk):
    from inferkit.errors import DiskFullError

    store = Store.create(full_disk / "run", {"seed": 77})
    big = rows(n=50)
    big.x["v"] = np.random.default_rng(0).normal(size=(50, 4000))
    (full_disk / "filler").write_bytes(b"x" * 200_000)
    with pytest.raises(DiskFullError, match="safe in"):
        store.write(big)
    assert not list(store.folder.glob("*"))
    (full_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(full_disk)], check=True)
    assert store.adopt_spilled() == 1
    assert np.array_equal(Simulations(store, 0).x()["v"], big.x["v"])
    assert not store.spill.exists()


def test_read_only_folder(tmp_path):
    """Root may write anywhere, so a read-only mount stands in for a read-only folder."""
    point = tmp_path / "ro"
    point.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(point)],
                      capture_output=True).returncode:
        point.chmod(0o500)
        if os.access(point, os.W_OK):
            pytest.skip("this user can write everywhere and cannot mount")
    try:
        with pytest.raises(StoreError, match="read-only|cannot write"):
            Store.create(point / "run", {"seed": 1})
    finally:
        subprocess.run(["umount", "-l", str(point)], capture_output=True)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("hello")
    with pytest.raises(StoreError, match="is a file"):
        Store.create(tmp_path / "run", {"seed": 1})


def test_identity_file_is_plain_json(store):
    told = json.loads((store.path / "store.json").read_text())
    assert told["key"] == store.key and told["identity"]["seed"] == 1
