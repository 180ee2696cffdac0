"""The texts of `inferkit init` and `inferkit plugins new`; names in braces are filled in."""

STUDY = """\
# inferkit study.    inferkit check {file}   tries it;   inferkit run {file}   runs it.
path = "{path}"
seed = 1
simulations = 2000
# timeout = 60                        # seconds a simulation may take
# observed = "data.npz"               # your data: one array an output, by the output's name
{observed}
{features}
[simulator]
name = "{simulator}"

[prior]
{prior}

[estimator]
name = "abc-rejection"                # inferkit plugins list estimator

[executor]
name = "local"                        # inferkit plugins list executor
"""

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"
description = "{Title}: {role} for inferkit"
requires-python = ">=3.11"
dependencies = ["inferkit>=0.1"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points.inferkit]
{name} = "{module}.plugin"

[tool.setuptools.packages.find]
include = ["{module}*"]
"""

PLUGIN = '''\
"""What this package registers.  Keep it light: inferkit imports it whenever it lists plugins, so
import no backend here; name the class by a string."""

from inferkit import {Spec}, hookimpl


@hookimpl
def inferkit_{role}s():
    yield {Spec}(
        name="{name}",
        summary="describe it in a line",
        target="{module}.{role}:{Class}",
        config="{module}.{role}:{Class}Config",{flags}
    )
'''

SIMULATOR = '''\
"""{Title}: replace the model by yours; the promises to keep are in inferkit.protocols.Simulator."""

from dataclasses import dataclass

import numpy as np

from inferkit import Output, Parameter
from inferkit.seeds import normals


@dataclass(frozen=True)
class {Class}Config:
    """Settings: each field is a key in [simulator] of a study file."""

    duration: float = 100.0
    dt: float = 1.0
    noise: float = 0.1


class {Class}:
    """Exponential decay with observation noise: x(t) = a exp(-t / tau) + noise."""

    def __init__(self, config: {Class}Config | None = None):
        self.config = config or {Class}Config()
        self.time = np.arange(0.0, self.config.duration, self.config.dt)
        self.parameters = (
            Parameter("a", default=1.0, description="amplitude"),
            Parameter("tau", unit="ms", default=20.0, description="time constant"),
        )
        self.outputs = (
            Output("x", (len(self.time),), dims=("time",), axis=self.time, axis_unit="ms"),
        )

    def simulate(self, theta, seeds):
        """n parameter sets and n seeds to n rows: row i is made of theta[i] and seeds[i] alone."""
        a = theta.get("a", np.ones(len(seeds)))
        tau = theta.get("tau", np.full(len(seeds), 20.0))
        x = a[:, None] * np.exp(-self.time / tau[:, None])
        return {{"x": x + self.config.noise * normals(seeds, (len(self.time),))}}
'''

ESTIMATOR = '''\
"""{Title}: replace the method by yours; the promises are in inferkit.protocols.Estimator."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class {Class}Config:
    """Settings: each field is a key in [estimator] of a study file."""

    ridge: float = 1e-6


class Engine:
    """A Gaussian around a linear prediction, in the prior's unconstrained space."""

    def __init__(self, weights, root, prior):
        self.weights, self.root, self.prior = weights, root, prior

    def sample(self, n, x, rng):
        flat = np.concatenate([np.ravel(v) for v in x.values()])
        mean = np.concatenate([[1.0], flat]) @ self.weights
        u = mean + rng.standard_normal((n, len(mean))) @ self.root.T
        return self.prior.from_unconstrained(u)[0]

    def state(self):
        return {{"weights": self.weights, "root": self.root}}, {{}}


class {Class}:
    """Linear regression of parameters on data: exact where the model is linear and Gaussian."""

    def __init__(self, config: {Class}Config | None = None):
        self.config = config or {Class}Config()

    def fit(self, problem):
        rows = problem.training()
        x = np.column_stack([np.ones(rows.ok.sum()), rows.flat[rows.ok]])
        u = problem.prior.to_unconstrained(rows.theta[rows.ok])
        gram = x.T @ x + self.config.ridge * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ u)
        root = np.linalg.cholesky(np.atleast_2d(np.cov((u - x @ weights).T)))
        return Engine(weights, root, problem.prior)

    @staticmethod
    def restore(arrays, meta, prior):
        return Engine(arrays["weights"], arrays["root"], prior)
'''

OBSERVATIONS = '''\
"""{Title}: replace the model by yours; the promises are in inferkit.protocols.Posterior.

It holds its own model and learns from what was observed, so that a study with it needs no simulator
and no prior.  Here: each channel of y is a constant in white noise.
"""

from dataclasses import dataclass

import numpy as np

from inferkit import Draws


@dataclass(frozen=True)
class {Class}Config:
    """Settings: each field is a key in [estimator] of a study file."""

    width: float = 10.0


class Engine:
    """The posterior of each channel's level, with a wide normal prior."""

    def __init__(self, mean, sd):
        self.mean, self.sd = mean, sd

    def draws(self, n, data, rng):
        level = self.mean + self.sd * rng.standard_normal((n, len(self.mean)))
        return Draws({{"level": level}}, {{"level": ("channel",)}})

    def state(self):
        return {{"mean": self.mean, "sd": self.sd}}, {{}}


class {Class}:
    """Learns from `problem.observed`, a `Dataset`: trials of any lengths."""

    def __init__(self, config: {Class}Config | None = None):
        self.config = config or {Class}Config()

    def fit(self, problem):
        y = np.concatenate(problem.observed.rows("y"))
        weight = len(y) / y.var(axis=0, ddof=1)
        var = 1 / (weight + self.config.width**-2)
        return Engine(var * weight * y.mean(axis=0), np.sqrt(var))

    @staticmethod
    def restore(arrays, meta, prior):
        return Engine(arrays["mean"], arrays["sd"])
'''

FEATURE = '''\
"""{Title}: replace the numbers by yours; the promises are in inferkit.protocols.Features."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class {Class}Config:
    """Settings: each field is a key of the feature's table in a study file."""

    output: str = "V"


class {Class}:
    """Peak-to-peak amplitude of a trace."""

    name = "{name}"

    def __init__(self, config: {Class}Config | None = None):
        self.config = config or {Class}Config()

    def compute(self, x, outputs):
        return {{"{name}": np.ptp(x[self.config.output], axis=1)}}
'''

TEST = {
    "simulator": '''\
class Test{Class}(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return inferkit.simulator("{name}")
''',
    "estimator": '''\
class Test{Class}(EstimatorSuite):
    @pytest.fixture
    def component(self):
        return inferkit.estimator("{name}")
''',
    "observations": '''\
class Test{Class}(ObservationsSuite):
    @pytest.fixture
    def component(self):
        return inferkit.estimator("{name}")

    @pytest.fixture
    def observed(self):
        rng = np.random.default_rng(0)
        return {{"y": [1.0 + rng.normal(size=(40, 2)), 1.0 + rng.normal(size=(25, 2))]}}
''',
    "feature": '''\
class Test{Class}(FeatureSuite):
    @pytest.fixture
    def feature(self):
        return inferkit.feature("{name}").build()

    @pytest.fixture
    def x(self):
        return {{"V": np.random.default_rng(0).normal(size=(5, 40))}}

    @pytest.fixture
    def outputs(self):
        return {{"V": inferkit.Output("V", (40,))}}
''',
}

TEST_HEAD = '''\
"""inferkit's own suites: each test names the promise that it checks."""

{imports}
import pytest

import inferkit
from inferkit.testing import {suites}


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "{module}.plugin"


'''

README = """\
# {package}

{Title}, a {role} for inferkit.

    pip install -e ".[test]"
    pytest
    inferkit plugins show {name}
"""

CODE = {"simulator": SIMULATOR, "estimator": ESTIMATOR, "observations": OBSERVATIONS,
        "feature": FEATURE}
FLAGS = {"simulator": "\n        batch_invariant=True,",
         "estimator": '\n        accepts=("features", "arrays"),', "feature": "",
         "observations": '\n        consumes=("observations",), gives=("arrays",), amortised=False,'}
