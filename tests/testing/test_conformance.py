"""The suites pass on what is right, and fail on what is deliberately wrong."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import inferkit as ik
from inferkit.testing import (
    EstimatorSuite,
    ExecutorSuite,
    FeatureSuite,
    PluginSuite,
    PriorSuite,
    SimulatorSuite,
)


class TestLIF(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("lif")


@pytest.mark.parametrize("name", ["gaussian_linear", "gaussian_mixture", "two_moons", "slcp"])
class TestTasks(SimulatorSuite):
    @pytest.fixture
    def component(self, name):
        return ik.simulator(name)

    @pytest.fixture
    def theta(self, component):
        return component.build().prior().sample(6, np.random.default_rng(0))


class TestABCRejection(EstimatorSuite):
    @pytest.fixture
    def component(self):
        return ik.estimator("abc-rejection", accept=0.05)


class TestABCSMC(EstimatorSuite):
    @pytest.fixture
    def component(self):
        return ik.estimator("abc-smc", population=600, generations=4)


class TestLocal(ExecutorSuite):
    @pytest.fixture
    def component(self):
        return ik.executor("local", workers=2)


class TestHierarchicalPrior(PriorSuite):
    @pytest.fixture
    def prior(self):
        return ik.Prior({"m": ik.Normal(0.0, 1.0), "s": ik.HalfNormal(1.0),
                         "x": ik.Normal("m", "s + 0.1"), "w": ik.Uniform(0.0, 2.0, shape=(2,))})


class TestStats(FeatureSuite):
    @pytest.fixture
    def feature(self):
        return ik.feature("stats").build()

    @pytest.fixture
    def x(self):
        return {"V": np.random.default_rng(0).normal(size=(5, 40))}

    @pytest.fixture
    def outputs(self):
        return {"V": ik.Output("V", (40,), axis=np.arange(40.0))}


class TestBuiltin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit.builtin.plugin"

    @pytest.fixture
    def backends(self):
        return "scipy", "matplotlib", "torch", "jax"

    def test_is_found_by_its_entry_point(self, records):
        """The core registers itself through the same hooks, without an entry point."""
        from inferkit import plugins

        assert all(plugins.registry().find(role, record.name) for role, record in records)


# -- deliberately wrong ones -------------------------------------------------------------------

WRONG = {
    "ignores its seed": ("simulator", "changes_a_stochastic", """
        def simulate(self, theta, seeds):
            return {"x": theta["a"][:, None] + np.zeros(3)}
    """),
    "draws from global state": ("simulator", "same_seed_repeats", """
        def simulate(self, theta, seeds):
            return {"x": theta["a"][:, None] + np.random.normal(size=(len(seeds), 3))}
    """),
    "shares one noise in a batch": ("simulator", "do_not_share_noise", """
        def simulate(self, theta, seeds):
            return {"x": theta["a"][:, None] + normals(seeds[:1], (3,))}
    """),
    "mixes rows": ("simulator", "does_not_depend_on_its_batch", """
        def simulate(self, theta, seeds):
            return {"x": theta["a"][:, None] - theta["a"].mean() + normals(seeds, (3,))}
    """),
    "puts the batch last": ("simulator", "batch_first", """
        def simulate(self, theta, seeds):
            return {"x": (theta["a"][:, None] + normals(seeds, (3,))).T}
    """),
    "changes its arguments": ("simulator", "does_not_change_its_arguments", """
        def simulate(self, theta, seeds):
            theta["a"] += 1
            return {"x": theta["a"][:, None] - 1 + normals(seeds, (3,))}
    """),
    "returns what it did not declare": ("simulator", "batch_first", """
        def simulate(self, theta, seeds):
            return {"y": theta["a"][:, None] + normals(seeds, (3,))}
    """),
}

HEAD = """
import numpy as np, pytest, inferkit as ik
from inferkit.seeds import normals
from inferkit.testing import *
"""

SIMULATOR = """
class Wrong:
    parameters = (ik.Parameter("a", default=1.0),)
    outputs = (ik.Output("x", (3,)),)
{body}

class TestWrong(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.own_simulator(Wrong())
"""

ESTIMATORS = {
    "the prior as posterior": ("uses_the_observation", "self.prior.pack(self.prior.sample(n, rng))"),
    "overconfident": ("closed_form", "x['x'] / 2 + 0.5 * 0.05**0.5 * rng.standard_normal((n, 2))"),
    "biased": ("closed_form", "x['x'] / 2 + 0.2 + 0.05**0.5 * rng.standard_normal((n, 2))"),
    "no seed": ("follow_the_seed", "x['x'] / 2 + 0.05**0.5 * np.random.standard_normal((n, 2))"),
    "forgets when saved": ("save_and_load", "(x['x'] / 2 if self.kept else 0 * x['x'])"
                                            " + 0.05**0.5 * rng.standard_normal((n, 2))"),
}

ESTIMATOR = """
import dataclasses
from inferkit import plugins
from inferkit.plugins import EstimatorSpec

class Engine:
    def __init__(self, prior, kept):
        self.prior, self.kept = prior, kept
    def sample(self, n, x, rng):
        return {sample}
    def state(self):
        return {{}}, {{}}

class Wrong:
    def fit(self, problem):
        return Engine(problem.prior, True)
    @staticmethod
    def restore(arrays, meta, prior):
        return Engine(prior, False)

import sys
sys.modules["wrong_estimator"] = sys.modules[__name__]
plugins.registry()._take("estimator", EstimatorSpec(
    name="wrong", summary="wrong", target="wrong_estimator:Wrong", accepts=("arrays",)),
    "tests", "1", "here")

class TestWrong(EstimatorSuite):
    simulations = 100
    @pytest.fixture
    def component(self):
        return ik.estimator("wrong")
"""

FEATURES = {
    "mixes rows": ("rows_are_independent", "{'f': x['V'].mean(1) - x['V'].mean()}"),
    "wrong shape": ("shapes", "{'f': x['V'].mean(0)}"),
    "warns": ("undefined_is_nan", "{'f': x['V'].max(1) / x['V'].std(1)}"),
}

FEATURE = """
class Wrong:
    def compute(self, x, outputs):
        return {body}

class TestWrong(FeatureSuite):
    @pytest.fixture
    def feature(self):
        return Wrong()
    @pytest.fixture
    def x(self):
        return {{"V": np.random.default_rng(0).normal(size=(5, 40))}}
    @pytest.fixture
    def outputs(self):
        return {{"V": ik.Output("V", (40,))}}
"""

EXECUTOR = """
from inferkit.simulate.local import LocalExecutor
from inferkit.plugins import ExecutorSpec
from inferkit.plugins import Component

class Wrong(LocalExecutor):
    def __init__(self):
        super().__init__()
        self.workers = 0
    {body}

import sys
sys.modules["wrong_executor"] = sys.modules[__name__]

class TestWrong(ExecutorSuite):
    @pytest.fixture
    def component(self):
        return Component(ExecutorSpec(name="wrong", summary="wrong",
                                      target="wrong_executor:Wrong"))
"""

EXECUTORS = {
    "seeds by position": ("equal_the_serial_run", """
    def submit(self, chunk):
        import dataclasses
        self.true = chunk.index
        return super().submit(dataclasses.replace(chunk, index=np.arange(len(chunk))))
    """),
}


def run(tmp_path, code, only):
    file = tmp_path / "test_wrong.py"
    file.write_text(HEAD + code)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only,
                           "--timeout=60", str(file)], capture_output=True, text=True, cwd=tmp_path)
    return done.returncode, done.stdout


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_simulator_fails(tmp_path, what):
    _, only, body = WRONG[what]
    code, told = run(tmp_path, SIMULATOR.format(body=textwrap.indent(textwrap.dedent(body), "    ")),
                     only)
    assert code == 1 and "1 failed" in told, told


def test_a_right_simulator_passes_the_same_way(tmp_path):
    body = """
    def simulate(self, theta, seeds):
        return {"x": theta["a"][:, None] + normals(seeds, (3,))}
    """
    code, told = run(tmp_path, SIMULATOR.format(body=body), "TestWrong and not left_out")
    assert code == 0 and "failed" not in told, told


@pytest.mark.parametrize("what", ESTIMATORS)
def test_a_wrong_estimator_fails(tmp_path, what):
    only, sample = ESTIMATORS[what]
    code, told = run(tmp_path, ESTIMATOR.format(sample=sample), only)
    assert code == 1 and "1 failed" in told, told


@pytest.mark.parametrize("what", FEATURES)
def test_a_wrong_feature_fails(tmp_path, what):
    only, body = FEATURES[what]
    code, told = run(tmp_path, FEATURE.format(body=body), only)
    assert code == 1 and "1 failed" in told, told


@pytest.mark.parametrize("what", EXECUTORS)
def test_a_wrong_executor_fails(tmp_path, what):
    only, body = EXECUTORS[what]
    code, told = run(tmp_path, EXECUTOR.format(body=body), only)
    assert code == 1 and "1 failed" in told, told
