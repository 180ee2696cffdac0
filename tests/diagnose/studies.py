"""A study with a closed-form posterior, and engines around it, without any training."""

import numpy as np

import inferkit as ik
from inferkit.builtin import diagnostics
from inferkit.builtin.tasks import GaussianLinear, GaussianLinearConfig
from inferkit.diagnose import ORDER, Checks
from inferkit.plugins import Component, EstimatorSpec
from inferkit.posterior import Posterior

ALL = {name: getattr(diagnostics, name) for name in diagnostics.__all__}


class Engine:
    """Exact draws of the task, moved and stretched."""

    def __init__(self, task, stretch=1.0, shift=0.0, info=None):
        self.task, self.stretch, self.shift, self.info = task, stretch, shift, info or {}

    def sample(self, n, x, rng):
        draws = self.task.reference_posterior(n, {"x": np.ravel(x["x"])}, rng)
        mean = draws.mean(axis=0)
        return mean + self.shift + self.stretch * (draws - mean)


def with_engine(study, engine, *, amortised=True, info=None):
    """The study as if it had been fitted with this engine."""
    spec = EstimatorSpec(name="made-up", summary="", target="nowhere:none", amortised=amortised)
    observed = None
    if study.observed is not None:
        from inferkit.features import observe

        observed = observe(study.observed, study.view())[0]
    view = study.view()
    view.of(study.held_out)  # learns the features' names
    study._posterior = Posterior(engine, Component(spec), study.prior, view, seed=study.seed,
                                 observed=observed, info={"fit": "made-up", **(info or {})})
    return study


def gaussian(path, *, dim=3, n=1000, observed=True, truth=True, amortised=True, info=None, **engine):
    task = GaussianLinear(GaussianLinearConfig(dim=dim))
    study = ik.Study(
        ik.simulator("gaussian_linear", dim=dim), task.prior(), path=path, seed=3, quiet=True,
        observed=task.observation(1) if observed is True else observed or None,
        truth=task.truth(1) if truth else None, executor=ik.executor("local", workers=0))
    study.simulate(n)
    return with_engine(study, Engine(task, **engine), amortised=amortised, info=info)


def check(study, *names):
    """(context, checks) of the named diagnostics, or of all."""
    with study.store.writing(), study.running.open():
        context = study.context()
        verdicts = [v for name in names or ALL for v in ALL[name]().run(context)]
    return context, Checks(sorted(verdicts, key=lambda v: ORDER.index(v.status)))
