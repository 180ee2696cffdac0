"""The user's own code: found with the modules beside it, told apart when it changes, sent along."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from inferkit.errors import ConfigError
from inferkit.plugins import from_reference, own_simulator
from inferkit.plugins.code_text import code_digest, code_of
from inferkit.plugins.own_code import import_function

BESIDE = """
GAIN = {"low": 1.0}
scratch = []
def scaled(a): return GAIN["low"] * a
def unused(a): return 0
def common(a): return 2
"""
OTHER = """
def common(a): return 3
"""
MODEL = """
from functools import lru_cache, partial
import numpy as np
import BESIDE
import BESIDE_other as OTHER
from BESIDE import scaled

RATES = [1.0, 2.0]
STEPS = (len, scaled)
weights = np.arange(3.0)
memo = {}

class Base:
    def offset(self): return 0.5

class Cell(Base):
    def run(self, a): return scaled(a) + self.offset()

@lru_cache
def rest(a): return 0.1

def simulate(theta, rng):
    memo[theta["a"]] = BESIDE.scratch
    noise = [rng.normal() for _ in range(3)]
    return {"x": Cell().run(theta["a"]) + weights * RATES[0] + np.array(noise)}

def qualified(theta, rng, gain=1.0):
    return gain * BESIDE.scaled(theta["a"]) * np.ones(3)

def twice(theta, rng):
    return BESIDE.common(theta["a"]) + OTHER.common(theta["a"])

def cached(theta, rng):
    return rest(theta["a"])

partly = partial(qualified, gain=2.0)
"""
CHANGES = {
    "a function of a module beside": ("beside", "GAIN[\"low\"] * a", "GAIN[\"low\"] + a"),
    "a constant of a module beside": ("beside", '"low": 1.0', '"low": 2.0'),
    "a list by an upper-case name": ("model", "RATES = [1.0", "RATES = [3.0"),
    "an array": ("model", "np.arange(3.0)", "np.arange(3.0) + 1"),
    "a method": ("model", "scaled(a) + self", "scaled(a) - self"),
    "a method of a base class": ("model", "return 0.5", "return 0.7"),
    "the function": ("model", "range(3)", "range(4)"),
}


def written(folder, change=(None, "", "")):
    """A model and the module beside it, under names that no other test has imported."""
    folder.mkdir()
    which, old, new = change
    beside, model = f"beside_{abs(hash(folder))}", f"model_{abs(hash(folder))}"
    for name, kind, text in ((beside, "beside", BESIDE), (f"{beside}_other", "other", OTHER),
                             (model, "model", MODEL)):
        text = text.replace(old, new) if which == kind else text
        (folder / f"{name}.py").write_text(text.replace("BESIDE", beside))
    return f"{model}.py"


def digests(folder, change=(None, "", "")):
    file = written(folder, change)
    names = ("simulate", "qualified", "partly", "cached", "twice")
    found = [import_function(f"{file}:{n}", folder) for n in names]
    # The names differ from folder to folder, which is no change of what they do.
    return found, [text.replace(str(abs(hash(folder))), "") for text in map(told, found)]


TRIVIAL = {
    "a comment": ("def simulate(theta, rng):", "def simulate(theta, rng):  # the model"),
    "a docstring": ("def simulate(theta, rng):", 'def simulate(theta, rng):\n    """Noise."""'),
    "a method's docstring": ("def run(self, a): ", "def run(self, a):\n        'sic'\n        "),
    "formatting": ("for _ in range(3)]", "\n        for _ in\n            range( 3 )\n    ]"),
    "annotations": ("def simulate(theta, rng):", "def simulate(theta: dict, rng: 'Any') -> dict:"),
    "a local's annotation": ("    noise = [", "    noise: list = ["),
    "a name that nothing reads": ("    noise = [", "    unread = 3\n    noise = ["),
    "a global of an attribute's name": ("RATES = [1.0", "normal = 3.0\nRATES = [1.0"),
}


@pytest.mark.parametrize("what", TRIVIAL)
def test_what_changes_nothing_does_not_change_the_digest(tmp_path, what):
    assert all(old in MODEL for old, _ in TRIVIAL.values())
    _, before = digests(tmp_path / "a")
    _, after = digests(tmp_path / "b", ("model", *TRIVIAL[what]))
    assert after == before


PARTS = """
import dataclasses
from dataclasses import dataclass, field
from functools import cached_property

GAIN = 1.0
@dataclass
class Settings:
    n: int = 3
    share = 0.5
SETTINGS = Settings()

class Model:
    @property
    def rate(self): return once(2.0)
    @cached_property
    def slow(self): return twice(2.0)
def once(a): return a
def twice(a): return 2 * a

def with_fields(theta, rng): return SETTINGS.n * theta["a"]
def with_default(theta, rng, *, gain=GAIN): return gain * theta["a"]
def with_property(theta, rng): return Model().rate + Model().slow
def as_lambdas(theta, rng): return FIRST(theta) + SECOND(theta)
FIRST, SECOND = lambda t: t["a"], lambda t: 2 * t["a"]  # noqa: E731
MORE = [lambda t: 1.0, lambda t: 2.0]
first_of_more = MORE[0]
"""
EDITS = {
    "with_fields": ("class Settings:\n    n: int = 3", "class Settings:\n    n: float = 3"),
    "with_fields ": ("SETTINGS = Settings()", "SETTINGS = Settings(4)"),
    "with_default": ("GAIN = 1.0", "GAIN = 2.0"),
    "with_property": ("def once(a): return a", "def once(a): return -a"),
    "with_property ": ("def twice(a): return 2", "def twice(a): return 4"),
    "as_lambdas": ('lambda t: 2 * t["a"]', 'lambda t: 3 * t["a"]'),
    "first_of_more": ("[lambda t: 1.0", "[lambda t: 1.5"),
}


@pytest.mark.parametrize("which", EDITS)
def test_what_a_model_is_made_of_counts_and_nothing_else(tmp_path, which):
    def texts(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        names = ("with_fields", "with_default", "with_property", "as_lambdas", "first_of_more")
        return {n: code_of(import_function(f"{name}.py:{n}", tmp_path)) for n in names}

    old, new = EDITS[which]
    assert old in PARTS
    kind = abs(hash(which))
    before = texts(f"parts_a{kind}", PARTS)
    after = texts(f"parts_b{kind}", "# moved down\n\n" + PARTS.replace(old, new))
    assert {n for n in before if before[n] != after[n]} == {which.strip()}


def told(thing):
    return code_of(thing)


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_anything_that_is_used_changes_the_digest(tmp_path, what):
    _, before = digests(tmp_path / "a")
    _, same = digests(tmp_path / "b")
    _, after = digests(tmp_path / "c", CHANGES[what])
    assert same == before
    assert after[0] != before[0]
    if "module beside" in what:
        assert after[1] != before[1] and after[2] != before[2]


def test_a_decorated_helper_counts(tmp_path):
    _, before = digests(tmp_path / "a")
    _, after = digests(tmp_path / "b", ("model", "return 0.1", "return 0.2"))
    assert after[:3] == before[:3] and after[3] != before[3]


@pytest.mark.parametrize("which", ["beside", "other"])
def test_two_modules_may_have_functions_of_one_name(tmp_path, which):
    _, before = digests(tmp_path / "a")
    _, after = digests(tmp_path / "b", (which, "def common(a): return", "def common(a): return 1 +"))
    assert after[:4] == before[:4] and after[4] != before[4]


def test_what_is_unused_or_scratch_does_not(tmp_path):
    _, before = digests(tmp_path / "a")
    _, after = digests(tmp_path / "b", ("beside", "return 0", "return 1"))
    assert after == before
    (simulate, *_), _ = digests(tmp_path / "c")
    digest = code_digest(simulate)
    simulate({"a": 1.0}, np.random.default_rng(0))  # fills its memo
    assert code_digest(simulate) == digest


def test_every_process_finds_the_same_digest(tmp_path):
    """Nothing in it hangs on addresses or on the order of a set; typed-in code has no source."""
    file = written(tmp_path / "a")
    script = ("import pathlib; from inferkit.plugins.own_code import *\n"
              "from inferkit.plugins.code_text import *; scope = {'np': 0}\n"
              f"f = import_function({file!r} + ':simulate', pathlib.Path({str(tmp_path / 'a')!r}))\n"
              f"twice = import_function({file!r} + ':twice', pathlib.Path({str(tmp_path / 'a')!r}))\n"
              "exec('def g(t): return [(lambda u: u)(i) for i in t if i in {\"u\", \"v\"}]', scope)\n"
              "print(code_digest(f), code_digest(twice), code_digest(scope['g']))")
    seen = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": str(k)}).stdout for k in (1, 2, 3)}
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["simulate", "partly", "twice"])
def test_another_machine_gets_the_modules_beside(tmp_path, name):
    """A process that finds neither file runs the model."""
    function = import_function(f"{written(tmp_path / 'a')}:{name}", tmp_path / "a")
    reference = own_simulator(function).reference()
    script = ("import json, sys, numpy as np; from inferkit.plugins.component import from_reference\n"
              "sim = from_reference(json.load(sys.stdin)).build()\n"
              "print(sim.simulate({'a': np.array([0.5])}, np.array([7], np.uint64))['x'].shape)")
    ran = subprocess.run([sys.executable, "-c", script], input=json.dumps(reference), text=True,
                         capture_output=True, cwd=tmp_path)
    assert ran.stdout == ("(1,)\n" if name == "twice" else "(1, 3)\n"), ran.stderr


def test_what_is_not_there_is_named(tmp_path):
    """A cached function travels by its name alone."""
    function = import_function(f"{written(tmp_path / 'a')}:cached", tmp_path / "a")
    reference = own_simulator(function).reference()
    for name in [m for m in sys.modules if m.startswith(("beside_", "model_"))]:
        del sys.modules[name]
    sys.path.remove(str(tmp_path / "a"))
    with pytest.raises(ConfigError, match="your own code.*No module named 'model_.*\n.*pip install"):
        from_reference(reference)


def test_a_study_file_may_name_a_model_in_two_files(tmp_path):
    file = written(tmp_path / "a")
    (tmp_path / "a/study.toml").write_text(
        'seed = 1\nsimulations = 20\n[prior]\na = {family = "uniform", low = 0, high = 1}\n'
        f'[simulator]\nfunction = "{file}:simulate"\n[executor]\nname = "local"\nworkers = 1\n')
    ran = subprocess.run([sys.executable, "-m", "inferkit", "check", "a/study.toml"],
                         capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0 and "none of 20 failed" in ran.stdout, ran.stdout + ran.stderr
