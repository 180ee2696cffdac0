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

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferkit import plot
    from inferkit.commands.grid import Explored, explore
    from inferkit.data import (
        Chunk,
        Dataset,
        Draws,
        Job,
        Output,
        Parameter,
        Ragged,
        Receipt,
        Trials,
    )
    from inferkit.diagnose import Checks, Context, Verdict
    from inferkit.errors import InferkitError
    from inferkit.estimate import Problem, Training
    from inferkit.features import OverTrials
    from inferkit.plugins import (
        API_VERSION,
        Component,
        DemoSpec,
        DiagnosticSpec,
        EstimatorSpec,
        ExecutorSpec,
        FeatureSpec,
        PriorSpec,
        ReaderSpec,
        SimulatorSpec,
        hookimpl,
        own_simulator,
    )
    from inferkit.posterior import Posterior, Samples, corrected, load
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
    from inferkit.simulate import run_chunk
    from inferkit.study import Study

# What comes from where; imported when first used, so that workers and `inferkit --help` start fast.
_HOME = {
    "inferkit.commands.grid": ("Explored", "explore"),
    "inferkit.data": ("Chunk", "Dataset", "Draws", "Job", "Output", "Parameter", "Ragged", "Receipt",
                      "Trials"),
    "inferkit.diagnose": ("Checks", "Context", "Verdict"),
    "inferkit.errors": ("InferkitError",),
    "inferkit.estimate": ("Problem", "Training"),
    "inferkit.features": ("OverTrials",),
    "inferkit.plugins": (
        "API_VERSION", "Component", "DemoSpec", "DiagnosticSpec", "EstimatorSpec", "ExecutorSpec",
        "FeatureSpec", "PriorSpec", "ReaderSpec", "SimulatorSpec", "hookimpl", "own_simulator",
    ),
    "inferkit.posterior": ("Posterior", "Samples", "corrected", "load"),
    "inferkit.prior": (
        "Acceptance", "Beta", "Choice", "Constraint", "Exponential", "Gamma", "Given",
        "HalfNormal", "InverseGamma", "LogNormal", "LogUniform", "MultivariateNormal", "Normal",
        "Prior", "Scipy", "StudentT", "TruncatedNormal", "Uniform",
    ),
    "inferkit.simulate": ("run_chunk",),
    "inferkit.study": ("Study",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"


def _component() -> type[Component]:
    from inferkit.plugins import Component

    return Component


def simulator(which: Any, /, **settings: Any) -> Component:
    """A simulator: a plugin's by name with its settings, or your own function.

    Your function: f(theta, rng) for one row, or f(theta, seeds) for a batch with vectorised=True.
    """
    if isinstance(which, str):
        return _component().choose("simulator", which, settings)
    from inferkit.plugins import own_simulator as own

    return own(which, **settings)


def estimator(name: str, /, **settings: Any) -> Component:
    """An estimator by name with its settings."""
    return _component().choose("estimator", name, settings)


def executor(name: str, /, **settings: Any) -> Component:
    """An executor by name with its settings."""
    return _component().choose("executor", name, settings)


def feature(name: str, /, **settings: Any) -> Component:
    """A feature by name with its settings."""
    return _component().choose("feature", name, settings)


def open(path: Any, *, trust: bool = False) -> Study:
    """The study of a run's folder again, whether a script or a study file began it.

    trust: code of its own that the folder names or holds (a simulator, features) may be run.
    """
    from inferkit.commands.study_file import open_run

    return open_run(path, trust=trust)


__all__ = sorted([*_MODULE_OF, "estimator", "executor", "feature", "open", "plot", "simulator"])


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("inferkit.plot")
    if name not in _MODULE_OF:
        near = None
        if not name.startswith("_"):
            from inferkit.errors import closest

            near = closest(name, __all__)
        raise AttributeError(f"module 'inferkit' has no attribute {name!r}"
                             + (f"; did you mean {near!r}?" if near else ""))
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
