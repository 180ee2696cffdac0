"""The plugin author's one page: what each role must do.

A study flows   prior -> simulate -> store -> features -> estimate -> posterior -> diagnose -> report.
Each arrow is crossed by numpy arrays, batch first, in dicts by name.  Nothing here is inherited:
a class that has these attributes and methods fits, whatever it derives from.  The suites in
`inferkit.testing` check an implementation against the promises written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from inferkit.chunk import Chunk, Job, Receipt
    from inferkit.estimate import Problem

Arrays = Mapping[str, Any]  # name -> ndarray (n, ...) or Ragged of n rows


@dataclass(frozen=True)
class Parameter:
    """One parameter of a simulator.  `default` fills in where the prior leaves it out."""

    name: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    default: Any = None
    description: str = ""


@dataclass(frozen=True)
class Output:
    """One output of a simulator.  `shape` is one row's shape; None means ragged (`Ragged`).

    `axis` holds the coordinates of the row's first dimension (times in ms, say), for plots and
    features; `dims` names the dimensions.  `allow_nan` lets NaN through as a legitimate value.
    """

    name: str
    shape: tuple[int, ...] | None = ()
    dtype: str = "float64"
    unit: str = ""
    dims: tuple[str, ...] = ()
    axis: np.ndarray | None = None
    axis_unit: str = ""
    allow_nan: bool = False
    description: str = ""


class Ragged:
    """Rows of different lengths: `values` end to end, row i is offsets[i]:offsets[i+1]."""

    __slots__ = ("values", "offsets")

    def __init__(self, values: np.ndarray, offsets: np.ndarray):
        self.values = np.ascontiguousarray(values)
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], dtype=np.float64) -> Ragged:
        rows = [np.asarray(r, dtype=dtype) for r in rows]
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)])
        return cls(np.concatenate(rows) if rows else np.empty(0, dtype), offsets)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:]))

    def __getitem__(self, key):
        """An integer gives one row; a slice, mask or index array gives a Ragged."""
        if isinstance(key, (int, np.integer)):
            i = range(len(self))[key]
            return self.values[self.offsets[i] : self.offsets[i + 1]]
        rows = np.arange(len(self))[key]
        return Ragged.from_rows([self[int(i)] for i in rows], self.dtype)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, Ragged)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.values, other.values, equal_nan=self.dtype.kind == "f")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {len(self.values)} values, {self.dtype})"


@runtime_checkable
class Simulator(Protocol):
    """A model that can be run forward.

    `simulate` gets n parameter sets and n seeds and returns n rows of every output.  Row i must
    depend on theta[i] and seeds[i] alone, so that the same seed gives the same noise in every
    batch.  Where the record declares `batch_invariant`, the bytes are equal too.
    Declared `parameters` and `outputs` let a study refuse a wrong name before it simulates; None
    or an empty tuple means "not known beforehand".
    An optional `prepare()` (compile, load a connectome) runs once a worker and is not timed.
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


@runtime_checkable
class Estimator(Protocol):
    """Learns a posterior.  `problem.simulate` is the one way to run the model forward."""

    def fit(self, problem: Problem) -> Posterior: ...


@runtime_checkable
class Posterior(Protocol):
    """What an estimator returns: draws of parameters given one observation.

    `x` maps each input the estimator saw to ONE observation's array (no batch axis), or to
    several i.i.d. trials (trials first) where the record says `iid`.  `sample` returns an (n, d)
    matrix in the prior's order; `log_prob` (only where declared) one value a row of the matrix,
    normalised over the prior's support.  `state` and the estimator class's
    `restore(arrays, meta, prior)` save and load without pickle.  One that assumes an observation
    model of its own adds `as_observed(x, theta, rng)`: simulated outputs with its noise, for checks.
    """

    def sample(self, n: int, x: Arrays, rng: np.random.Generator) -> np.ndarray: ...
    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...


@runtime_checkable
class Executor(Protocol):
    """Places chunks of simulations; it never looks inside them.

    `inferkit.chunk.run_chunk` does the work wherever it lands.  A ticket is a string, because
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
