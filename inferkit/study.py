"""A study: prior -> simulate -> store -> features -> estimate -> posterior -> diagnose -> report.

Read this module first: it calls the stages in order, each in a few lines.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import (
    diagnose,
    estimate,
    features,
    posterior,
    provenance,
    report,
    simulate,
    written,
)
from inferkit.beside import Beside
from inferkit.data import Dataset, Trials, trial_range
from inferkit.data.settings import count_of, seed_of, timeout_of
from inferkit.errors import ConfigError, EstimatorError, names_keywords, unknown_name
from inferkit.estimate.absent import NO_SIMULATOR, NoPrior
from inferkit.plugins import Component, Repeated, chosen, own_simulator, soundness
from inferkit.posterior import Posterior, predicted
from inferkit.prior import Prior
from inferkit.progress import Progress, Reporter, duration
from inferkit.running import Running
from inferkit.store import Simulations, Store, if_possible, make_folder

HELD_OUT = 10
"""Every tenth simulation of the prior round is kept from training, for the checks."""


class Study(Beside):
    """A simulator, a prior, and how to infer one with the other.

    simulator: `ik.simulator("lif", …)`, or your own function f(theta, rng).
    prior: `ik.Prior({...})`.
    features: names, tables or functions; None gives the estimator the raw outputs.
    estimator, executor: `ik.estimator("abc-smc")`, `ik.executor("local", workers=2)`, or names.
    path: the run's folder: simulations, fits, checks, report.  seed: the root of all randomness.
    observed: data to explain (also accepted by fit, check and report).
    An estimator that holds its own model needs neither simulator nor prior: what is observed is
    then a `Dataset`, or what `Dataset.of` takes.
    truth: the parameters behind synthetic data, shown in plots.
    timeout: seconds a single simulation may take.
    trials: how many independent trials of one parameter set an observation has, 60, or the least
    and the greatest number, (5, 100).  The simulator makes one; a stored row holds so many.
    log_likelihood: f(theta, x) for estimators that want one.
    accept_code: what another version of your code simulated counts as this study's (it is recorded).
    """

    @names_keywords
    def __init__(self, simulator: Any = None, prior: Prior | None = None, *, features: Any = None,
                 estimator: Any = "abc-rejection", executor: Any = "local",
                 path: str | Path = "runs/study", seed: int = 0, observed: Any = None,
                 truth: Mapping[str, Any] | None = None,
                 timeout: float | None = None, trials: int | Sequence[int] | None = None,
                 log_likelihood: Callable | None = None, accept_code: bool = False,
                 quiet: bool = False, folder: Path = Path()):
        self.simulator = (NO_SIMULATOR if simulator is None
                          else simulator if isinstance(simulator, Component)
                          else chosen("simulator", simulator) if isinstance(simulator, str)
                          else own_simulator(simulator))
        self.trials = trial_range(trials)
        if self.trials is not None:
            if self.simulator is NO_SIMULATOR:
                raise ConfigError("trials= says how often the simulator runs a row, and there is none",
                                  fix="leave trials out: a data set says its trials itself")
            self.simulator = Repeated.of(self.simulator, self.trials[1])
        if not isinstance(prior, Prior | None):
            raise ConfigError(f"prior is {type(prior).__name__}",
                              fix='prior=ik.Prior({"a": ik.Uniform(0, 1)})')
        self.prior: Any = NoPrior() if prior is None else prior
        self.features = features
        self.estimator = chosen("estimator", estimator)
        self.executor = chosen("executor", executor)
        self.path, self.seed, self.timeout = Path(path), seed_of(seed), timeout_of(timeout)
        self.observed, self.truth = observed, truth
        if truth is not None and prior is not None and (
                wrong := truth.keys() - {*self.prior.parameters, *self.prior.names}):
            raise unknown_name("parameter in truth", min(wrong), self.prior.parameters)
        self.log_likelihood, self.accept_code = log_likelihood, accept_code
        self.reporter = Reporter(quiet)
        self._folder, self.from_file = folder, False
        self._posterior: Posterior | None = None
        self.running = Running(self)
        self._wanted = 0

    # -- the stages, in order --------------------------------------------------------------------

    def simulate(self, n: int, *, retry_failed: bool = False, verify_up_to: float = 2e9) -> Progress:
        """See to it that n simulations of the prior are stored; only what is missing runs.

        retry_failed: those that failed run again, once the simulator or what it runs on is mended.
        """
        n = count_of(n)
        if missing := {"simulator", "parameters"} - self.has:
            raise ConfigError(f"this study has no {' and no '.join(sorted(missing))} to simulate with",
                              fix=f"study.fit(): {self.estimator.name!r} learns from observations"
                              if self.holds_its_model(self.estimator) else
                              "ik.Study(simulator=…, prior=…)")
        self.check_names()
        store = self.store
        with store.writing(needed=False):
            if store.held:
                store.upkeep(verify_up_to, self.reporter.say)
            self._wanted = n
            self._keep(self.observed)
            self.check_observed()
            draw = simulate.PriorDraws(self.prior, self.seed)
            with self.running.open():
                progress = self.running.run(draw, 0, n, retry_failed, self._after_the_first)
        provenance.record(self.path, "simulate", n=n, new=progress.done, seconds=progress.seconds,
                          counts=dict(progress.counts), simulator_seconds=progress.sim_seconds,
                          executor=self.executor.name, notes=sorted(progress.notes),
                          code=self.identity["simulator"].get("code"),
                          **provenance.environment(self._backends()))
        return progress

    def fit(self, estimator: Any = None, *, observed: Any = None, refit: bool = False) -> Posterior:
        """Learn a posterior from what is stored; a fit that was finished before is loaded."""
        chosen_one = self.estimator if estimator is None else chosen("estimator", estimator)
        problem = self._problem(chosen_one, self.observed if observed is None else observed)
        folder = problem.folder
        if (folder / "posterior.json").exists() and not refit:
            self._posterior = posterior.load(
                folder, features=self.features, folder=self._folder,
                prior=self.prior if "parameters" in self.has else None)
            if problem.observed is not None:  # an amortised fit answers for the data of today
                self._posterior.observed = problem.observed
            self._posterior.forward = partial(predicted.of_draws, self)
            return self._posterior
        started = time.monotonic()
        with self.store.writing(), self.running.open():
            make_folder(folder)
            self._keep(self.observed if observed is None else observed)
            engine = chosen_one.build().fit(problem)
        info = {"seconds": time.monotonic() - started, "rows": len(problem.simulations or ()),
                "fit": folder.name, **getattr(engine, "info", {})}
        if problem.simulations:
            seen = problem.simulations.ok.select(slice(0, 1000))
            info["reach"] = posterior.reach(problem.view.of(seen))
        spec: Any = chosen_one.spec
        self._posterior = Posterior(engine, chosen_one, self.prior, problem.view, seed=self.seed,
                                    observed=problem.observed, info=info)
        self._posterior.forward = partial(predicted.of_draws, self)
        self._posterior.save(folder)
        for file in folder.glob("checkpoint*"):  # a fit that is repeated starts anew
            file.unlink()
        provenance.record(self.path, "fit", estimator=chosen_one.identity(), seconds=info["seconds"],
                          **provenance.environment(provenance.backends(spec.package)))
        self.reporter.say(f"{chosen_one.name}: fitted in {duration(info['seconds'])}")
        return self._posterior

    def check(self, observed: Any = None, *, only: list[str] | None = None) -> diagnose.Checks:
        """Examine the fitted posterior: verdicts with evidence and remedy."""
        context = self.context(observed)
        checks = self.examine(context, only)
        if only is None:  # some checks do not stand for all
            with if_possible("the checks are", self.reporter.say):
                checks.save(self._checks_file(context))
        return checks

    def examine(self, context: diagnose.Context, only: list[str] | None = None) -> diagnose.Checks:
        """The same of a context that is there already; nothing is kept."""
        self.store.refuse_damage()
        with self.store.writing(needed=False), self.running.open():
            return diagnose.run(context, only)

    def checks(self, observed: Any = None) -> diagnose.Checks:
        """What `check` found for this fit and observation; it runs where it has not."""
        saved = self._checks_file(self.context(observed))
        return diagnose.Checks.load(saved) if saved.exists() else self.check(observed)

    def report(self, path: str | Path | None = None, observed: Any = None, *, figures: bool = False
               ) -> Path:
        """One offline HTML file; the checks are run first if they have not been.

        figures: its pictures (PDF, PNG) and tables (CSV, LaTeX) as files too, in report_files.
        """
        file = Path(path) if path else self.path / "report.html"
        context = self.context(observed)
        self.store.refuse_damage()
        checks = self.checks(observed)
        # The predictive simulations may still have to run.
        with self.store.writing(needed=False), self.running.open():
            return report.write(file, context, checks, figures)

    def _checks_file(self, context: diagnose.Context) -> Path:
        """Where a fit's checks for one observation are kept."""
        fit = self.posterior.info.get("fit", "fit")
        return self.path / "checks" / f"{fit}-{estimate.digest(context.observed_inputs)}.json"

    # -- what the stages share -------------------------------------------------------------------

    @property
    def has(self) -> set[str]:
        """Of "simulator" and "parameters", what this study has: what lacks its part is left out."""
        return {name for name, there in (("simulator", self.simulator is not NO_SIMULATOR),
                                         ("parameters", bool(self.prior.names))) if there}

    @property
    def posterior(self) -> Posterior:
        if self._posterior is None:
            raise EstimatorError("nothing is fitted yet", fix="study.fit()")
        return self._posterior

    @cached_property
    def built(self) -> Any:
        """The simulator itself, in this process (declarations, gradients)."""
        return self.simulator.build()

    @cached_property
    def identity(self) -> dict:
        return {"simulator": self.simulator.identity(), "prior": self.prior.identity(),
                "seed": self.seed}

    @cached_property
    def store(self) -> Store:
        return Store.create(self.path, self.identity, code=self.simulator.code,
                            accept_code=self.accept_code, say=self.reporter.say)

    @property
    def simulations(self) -> Simulations:
        """The prior round's stored rows."""
        return Simulations(self.store, 0)

    @property
    def training(self) -> Simulations:
        table = self.simulations
        return table.select(table.index % HELD_OUT != HELD_OUT - 1)

    @property
    def held_out(self) -> Simulations:
        """Simulations that no estimator has seen."""
        table = self.simulations
        return table.select(table.index % HELD_OUT == HELD_OUT - 1)

    def view(self) -> features.View:
        """What the estimator sees of the outputs."""
        return features.View(features.choose(self.features, self._folder),
                             features.outputs_of(self.built, self.simulations, self.trials),
                             self.trials)

    def _backends(self) -> dict[str, str]:
        """The packages that simulate: a plugin's with what they require, or what own code imports."""
        one = getattr(self.simulator, "inner", self.simulator)
        own = getattr(getattr(one, "thing", None), "function", None)
        return provenance.backends(one.spec.package, self.executor.spec.package,
                                   *provenance.used_by(own))

    def context(self, observed: Any = None) -> diagnose.Context:
        """What diagnostics and report look at."""
        return diagnose.Context(self, self.posterior,
                                self.observed if observed is None else observed)

    def check_names(self) -> None:
        """Refuse parameters that neither simulator nor estimator knows, before anything runs."""
        own = getattr(self.estimator.config, "own_parameters", ())  # the size of the noise, say
        given = {k: tuple(shape) for k, (shape, _) in self.prior.parameters.items() if k not in own}
        simulate.check_names(self.simulator.name, self.built, given)
        if hasattr(self.built, "check_prior"):  # units, ranges that make no sense
            self.built.check_prior(self.prior)

    def check_observed(self) -> None:
        """Refuse observed data that do not fit, as soon as it is known what fits."""
        if self.observed is not None and self.holds_its_model(self.estimator):
            Dataset.of(self.observed)
        elif self.observed is not None:
            features.check_observed(self.observed, self.view(), self.simulations)

    def check_pairing(self, estimator: Component, observed: Any) -> features.View:
        """Refuse an estimator that cannot work with this study; what it will see, if it can."""
        view = self.view()
        simulator: Any = self.simulator.spec
        spec: Any = estimator.spec
        estimate.check_pairing(spec, simulator, view, observed=observed is not None, has=self.has,
                               log_likelihood=self.log_likelihood is not None,
                               trials=self.trials is not None or isinstance(observed, Trials))
        return view

    def run_round(self, theta: np.ndarray, tag: str) -> Simulations:
        """Simulate given parameters (n, d) as a stored round of their own."""
        with self.store.writing(needed=False), self.running.open():
            plan = estimate.Plan(self.store, tag)
            if plan.theta is None or not np.array_equal(plan.theta, theta):
                plan = estimate.Plan(self.store, f"{tag}-{estimate.digest({'theta': theta})}")
                if plan.theta is None:
                    plan.write(theta)
            unpacked = self.prior.unpack(plan.theta)
            self.running.run(lambda index: {k: v[index] for k, v in unpacked.items()}, plan.round,
                             len(theta))
        return Simulations(self.store, plan.round, stop=len(theta))

    def _problem(self, estimator: Component, observed: Any) -> estimate.Problem:
        view = self.check_pairing(estimator, observed)
        spec: Any = estimator.spec
        table = self.training
        if "simulations" in spec.consumes and not spec.needs_observed and not len(table):
            raise EstimatorError("there are no simulations to learn from",
                                 fix="study.simulate(1000)")
        inputs: Any = None
        if self.holds_its_model(estimator):
            inputs = Dataset.of(observed)
        elif observed is not None:
            inputs, several = features.observe(observed, view)
            if several and spec.needs_observed:
                raise EstimatorError(f"{estimator.name!r} fits one observation at a time")
        fitted_for = inputs if spec.needs_observed or not spec.amortised else None
        tag = estimate.fit_tag(estimator, view, fitted_for, self.seed, len(table),
                               self.store.attempt(0))
        folder = self.path / "fits" / tag
        return estimate.Problem(
            prior=self.prior if "parameters" in self.has else None, view=view, seed=self.seed,
            folder=folder, tag=tag, simulations=table, observed=inputs,
            component=self.simulator if "simulator" in self.has else None,
            parameters=tuple(getattr(self.built, "parameters", None) or ()), outputs=view.outputs,
            log_likelihood=self.log_likelihood, show=self.reporter.event, executor=self.executor,
            _run=self.running.run, _job=self.running.job, spend=self.running.spend)

    @staticmethod
    def holds_its_model(estimator: Component) -> bool:
        """Whether an estimator learns from observations alone."""
        spec: Any = estimator.spec
        return set(spec.consumes) == {"observations"}

    def _keep(self, observed: Any) -> None:
        """Leave the study in its folder, so that the command line, and `ik.open`, know it."""
        if self.from_file:
            return
        with if_possible("the study's file is", self.reporter.say):
            written.keep(self, self._wanted or len(self.store.present(0)) or None, observed)

    def _after_the_first(self, progress: Progress) -> None:
        """What the first rows teach, before many run."""
        for note in progress.notes:
            if soundness.MARK in note:
                warnings.warn(note, stacklevel=4)
        self.check_observed()
