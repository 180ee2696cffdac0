"""inferkit: Bayesian inference on simulators, any with any.

    prior -> simulate -> store -> features -> estimate -> posterior -> diagnose -> report

    import inferkit as ik
    study = ik.Study(
        simulator=ik.simulator("lif"),
        prior=ik.Prior({"tau": ik.LogNormal(20.0, 0.3, unit="ms"), ...}),
        features=["spike_count", "isi"],
        estimator=ik.estimator("abc-smc"),
        executor=ik.executor("local"),
        path="runs/lif", seed=1,
    )
    study.simulate(2000)
    posterior = study.fit(observed=data)
    posterior.sample(1000)
    study.check()
    study.report()

Read `inferkit/study.py` first, and `inferkit/protocols.py` to write a plugin.
"""

from __future__ import annotations

from typing import Any

from inferkit.chunk import Chunk, Job, Receipt, run_chunk
from inferkit.component import Component, own_simulator
from inferkit.diagnose import Checks, Context, Verdict
from inferkit.errors import InferkitError
from inferkit.estimate import Problem, Training
from inferkit.hookspecs import hookimpl
from inferkit.posterior import Posterior, Samples, load
from inferkit.prior import (
    Acceptance,
    Beta,
    Choice,
    Constraint,
    Exponential,
    Gamma,
    Given,
    HalfNormal,
    InverseGamma,
    LogNormal,
    LogUniform,
    MultivariateNormal,
    Normal,
    Prior,
    Scipy,
    StudentT,
    TruncatedNormal,
    Uniform,
)
from inferkit.protocols import Output, Parameter, Ragged
from inferkit.specs import (
    API_VERSION,
    DiagnosticSpec,
    EstimatorSpec,
    ExecutorSpec,
    FeatureSpec,
    PriorSpec,
    SimulatorSpec,
)
from inferkit.study import Study

__version__ = "0.1.0"


def simulator(which: Any, /, **settings: Any) -> Component:
    """A simulator: a plugin's by name with its settings, or your own function.

    Your function: f(theta, rng) for one row, or f(theta, seeds) for a batch with vectorised=True.
    """
    if isinstance(which, str):
        return Component.choose("simulator", which, settings)
    return own_simulator(which, **settings)


def estimator(name: str, /, **settings: Any) -> Component:
    """An estimator by name with its settings."""
    return Component.choose("estimator", name, settings)


def executor(name: str, /, **settings: Any) -> Component:
    """An executor by name with its settings."""
    return Component.choose("executor", name, settings)


def feature(name: str, /, **settings: Any) -> Component:
    """A feature by name with its settings."""
    return Component.choose("feature", name, settings)


__all__ = [
    "API_VERSION", "Acceptance", "Beta", "Checks", "Choice", "Chunk", "Component", "Constraint",
    "Context", "DiagnosticSpec", "EstimatorSpec", "ExecutorSpec", "Exponential", "FeatureSpec",
    "Gamma", "Given", "HalfNormal", "InferkitError", "InverseGamma", "Job", "LogNormal",
    "LogUniform", "MultivariateNormal", "Normal", "Output", "Parameter", "Posterior", "Prior",
    "PriorSpec", "Problem", "Ragged", "Receipt", "Samples", "Scipy", "SimulatorSpec", "StudentT",
    "Study", "Training", "TruncatedNormal", "Uniform", "Verdict", "estimator", "executor",
    "feature", "hookimpl", "load", "own_simulator", "run_chunk", "simulator",
]
