"""An engine that turns out not to run a simulation makes way for the next, and the record says why."""

import numpy as np
import pytest
from inferkit_tvb import build

import inferkit as ik
from inferkit.errors import ConfigError

SETTINGS = dict(connectivity="synthetic-6", dt=0.1, duration=5.0, noise=0.01,
                monitors=[{"kind": "TemporalAverage", "period": 1.0, "variables": ["r"]}])
THETA, SEEDS = {"coupling.a": np.linspace(0.1, 0.4, 3)}, np.arange(3)


def simulator(**settings):
    return ik.simulator("tvb", **SETTINGS | settings)


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Set the C compiler; nothing that was compiled before is found."""
    def choose(cc=None, script=None):
        if script is not None:
            (tmp_path / "bin").mkdir()
            gcc = tmp_path / "bin/gcc"
            gcc.write_text(script)
            gcc.chmod(0o755)
            monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        monkeypatch.setenv("CC", cc) if cc else monkeypatch.delenv("CC", raising=False)
        build.compiler.cache_clear()

    monkeypatch.setenv("INFERKIT_CACHE", str(tmp_path / "cache"))
    yield choose
    build.compiler.cache_clear()


BROKEN = """#!/bin/sh
case "$1" in --version) echo gcc 99;; *) echo "cc1: out of memory" >&2; exit 4;; esac
"""


@pytest.mark.parametrize("cc, script, words", [
    ("no-such-compiler", None, "no C compiler (no-such-compiler); install gcc, or set CC"),
    ("/bin/false", None, "/bin/false failed (exit status 1)"),
    (None, BROKEN, "failed (exit status 4): cc1: out of memory"),
    (None, "not a program", "gcc cannot be started"),
])
def test_a_compiler_that_fails_leaves_it_to_blocks(compiler, tmp_path, cc, script, words):
    expected = simulator(engine="blocks").build().simulate(THETA, SEEDS)
    compiler(cc, script)
    prepared, unprepared = simulator().build(), simulator().build()
    prepared.prepare()
    for built in (prepared, unprepared):
        np.testing.assert_array_equal(built.simulate(THETA, SEEDS)["average"], expected["average"])
        assert built.engine.name == "blocks" and "engine: blocks" in built.note
        assert "not compiled:" in built.note and words in built.note
    alone = simulator(engine="compiled").build()
    for _ in range(2):
        with pytest.raises(ConfigError) as told:
            alone.prepare()
        for word in ('engine = "compiled" cannot run', words, 'engine = "auto"'):
            assert word in str(told.value)


def test_the_run_records_the_engine_that_ran(compiler, tmp_path):
    compiler(None, BROKEN)
    study = ik.Study(simulator(), ik.Prior({"coupling.a": ik.Uniform(0.0, 0.5)}),
                     estimator="abc-rejection", executor=ik.executor("local", workers=0),
                     path=tmp_path / "run", seed=1, quiet=True)
    study.simulate(4)
    assert study.simulations.status.tolist() == [0] * 4
    recorded = "".join(f.read_text() for f in study.path.rglob("*.json*"))
    assert "engine: blocks" in recorded and "cc1: out of memory" in recorded


def test_a_compiler_of_several_words_and_a_cache_that_is_no_folder(compiler, tmp_path, monkeypatch):
    compiler("env LC_ALL=C gcc")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INFERKIT_CACHE", str(tmp_path / "file"))
    built = simulator(engine="compiled").build()
    assert np.isfinite(built.simulate(THETA, SEEDS)["average"]).all()
    assert built.engine.name == "compiled"


def test_a_library_that_cannot_be_loaded_leaves_it_to_blocks(compiler, tmp_path, monkeypatch):
    compiler()
    made = simulator().build()
    made.prepare()
    assert made.engine.name == "compiled"
    (library,) = (tmp_path / "cache/tvb").glob("*.so")
    (tmp_path / "other/tvb").mkdir(parents=True)
    (tmp_path / "other/tvb" / library.name).write_text("cut off")
    monkeypatch.setenv("INFERKIT_CACHE", str(tmp_path / "other"))
    built = simulator().build()
    built.prepare()
    assert built.engine.name == "blocks" and "cannot be made or loaded" in built.note


def test_a_coupling_that_shows_late_that_it_has_no_blocks(tmp_path):
    """Its parameter enters before and after the sum: one a row is more than blocks can give."""
    (tmp_path / "mine.py").write_text("""
from tvb.basic.neotraits.api import NArray
from tvb.simulator.coupling import SparseCoupling
import numpy


class Mine(SparseCoupling):
    a = NArray(default=numpy.array([0.1]))

    def pre(self, x_i, x_j):
        return self.a * x_j

    def post(self, gx):
        return numpy.arctan(self.a * gx)
""")
    built = simulator(coupling=f"{tmp_path / 'mine.py'}:Mine").build()
    built.prepare()
    assert built.engine.name == "blocks" and "the function arctan" in built.note
    x = built.simulate(THETA, SEEDS)["average"]
    assert built.engine.name == "tvb" and "enters before and after the sum" in built.note
    plain = simulator(coupling=f"{tmp_path / 'mine.py'}:Mine", engine="tvb").build()
    np.testing.assert_array_equal(x, plain.simulate(THETA, SEEDS)["average"])
