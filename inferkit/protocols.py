"""The plugin author's one page: what each role must do.

A study flows   prior -> simulate -> store -> features -> estimate -> posterior -> diagnose -> report.
Each arrow is crossed by numpy arrays, batch first, in dicts by name.  Nothing here is inherited:
a class that has these attributes and methods fits, whatever it derives from.  The suites in
`inferkit.testing` check an implementation against the promises written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from inferkit.data import Arrays, Chunk, Job, Output, Parameter, Receipt


@runtime_checkable
class Simulator(Protocol):
    """A model that can be run forward.

    `simulate` gets n parameter sets and n seeds and returns n rows of every output.  Row i must
    depend on theta[i] and seeds[i] alone, so that the same seed gives the same noise in every
    batch.  Where the record declares `batch_invariant`, the bytes are equal too.
    Declared `parameters` and `outputs` let a study refuse a wrong name before it simulates; None
    or an empty tuple means "not known beforehand".
    An optional `prepare()` (compile, load a connectome) runs once a worker and is not timed.
    An optional `check_prior(prior)` raises where a prior's units or range make no sense for it; an
    optional `note` (the engine that it took, say) reaches the run's provenance.
    An optional `messages` (row -> text) says why rows of the last call hold NaN.
    A differentiable simulator adds `jax_function()`, returning f(theta: dict, key) -> dict in JAX.
    """

    parameters: Sequence[Parameter] | None
    outputs: Sequence[Output] | None

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> Arrays: ...


@runtime_checkable
class Prior(Protocol):
    """A proper joint distribution over named parameters.

    Dicts hold arrays (n, *shape) by name; matrices are (n, d) in the order of `names`, where a
    vector parameter expands into `name[0]`, `name[1]`, …  Unconstrained space is R^d; `log_prob`
    is with respect to the original parameters, normalised over the support (constraints
    included; the Monte Carlo error of a constraint's normaliser is reported by the prior).
    """

    names: tuple[str, ...]
    units: Mapping[str, str]
    dim: int

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]: ...
    def log_prob(self, theta: Arrays) -> np.ndarray: ...
    def pack(self, theta: Arrays) -> np.ndarray: ...
    def unpack(self, matrix: np.ndarray) -> dict[str, np.ndarray]: ...
    def to_unconstrained(self, matrix: np.ndarray) -> np.ndarray: ...
    def from_unconstrained(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Original values and the log absolute Jacobian determinant |d theta / d u|, a row each."""
        ...

    def to_config(self) -> dict: ...


@runtime_checkable
class Features(Protocol):
    """Turns raw outputs into named numbers, vectorised over the batch.

    `outputs` describes the simulator's outputs (axes, units); the result maps a feature's name to
    an array (n,) or (n, k).  NaN says "undefined for this row" and is never dropped silently.
    """

    def compute(self, x: Arrays, outputs: Mapping[str, Output]) -> dict[str, np.ndarray]: ...


class Problem(Protocol):
    """What an estimator is given (`inferkit.estimate.Problem` holds more, and says it in full).

    `prior`, `simulations` and `observed` are None where the study has none.  `folder` is the fit's
    own; files "checkpoint*" in it serve a fit that is begun again, and go when it is finished.

    `trials`: None, or the least and the greatest number of trials that an observation has.  Inputs
    then have the trials' axis behind the batch's: `training().inputs[name]` is (n, trials[1], …),
    every row with the greatest number, and `observed[name]` (1, m, …) with trials[0] <= m <=
    trials[1].  Trials of a row are independent given its parameters and in no order: an estimator
    whose record says `sets` learns from random subsets of a row where the numbers differ (its
    network must not care for the order); one that says `iid` may learn from single trials.
    """

    prior: Any
    seed: int
    folder: Path
    simulations: Any
    observed: Any
    trials: tuple[int, int] | None
    show: Callable[[str, dict], None]

    def rng(self, *fields: int) -> np.random.Generator: ...
    def training(self, simulations: Any = None) -> Any: ...
    def simulate(self, proposal: Any, n: int | None = None) -> Any: ...


@runtime_checkable
class Estimator(Protocol):
    """Learns a posterior.  `problem.simulate` is the one way to run the model forward."""

    def fit(self, problem: Problem) -> Posterior: ...


@runtime_checkable
class Posterior(Protocol):
    """What an estimator returns: draws of parameters given one observation.

    `x` maps each input the estimator saw to ONE observation's array (no batch axis); of several
    trials (see `Problem.trials`, and always for `iid`) the trials come first, and an optional
    `sample_batch(n, x, rng) -> (b, n, d)` gets (b, m, …).  `sample` returns an (n, d)
    matrix in the prior's order; `log_prob` (only where declared) one value a row of the matrix,
    normalised over the prior's support.  `state` and the estimator class's
    `restore(arrays, meta, prior)` save and load without pickle.  One that assumes an observation
    model of its own adds `as_observed(x, theta, rng)`: simulated outputs with its noise, for checks.
    One that runs chains keeps those of its last sampling in `chains` (chain, draw, d), and what it
    knows of each draw in `stats`, {"diverging": (chain, draw)}, for ArviZ.
    """

    def sample(self, n: int, x: Arrays, rng: np.random.Generator) -> np.ndarray: ...
    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...


@runtime_checkable
class Executor(Protocol):
    """Places chunks of simulations; it never looks inside them.

    `inferkit.simulate.run_chunk` does the work wherever it lands.  A ticket is a string, because
    a job at an HPC site outlives this process; `wait` returns receipts in any order, one a chunk
    that ended, however it ended (`Receipt.lost` where the process running it died).
    `slots` is how many chunks it wants in flight now; it may change.
    """

    slots: int

    def open(self, job: Job) -> None: ...
    def submit(self, chunk: Chunk) -> str: ...
    def wait(self, timeout: float) -> list[Receipt]: ...
    def cancel(self) -> None:
        """Stop soon: what finished is written first, what runs may be dropped."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Diagnostic(Protocol):
    """Examines a fitted study and gives a verdict with its evidence and a remedy."""

    def run(self, context: Any) -> Iterable[Any]: ...
