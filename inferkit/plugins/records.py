"""The records that plugins register: what a thing is called, where it lies, what it can do.

A record is data.  `target` stays a string until somebody uses it, so listing two hundred plugins
imports none of their backends.  Capabilities are fields, so a pairing (this simulator with that
estimator) is checked before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass

API_VERSION = 1
"""The plugin interface's version.  A record states the range it supports in `api`."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What all records share.

    `target` is "module:attribute"; the attribute is called with the validated config (an instance
    of the dataclass that `config` is or names; with no argument where there is none).
    `cites`: what a paper that used it should cite: keys of `references.bib`, or BibTeX entries.
    `package` and `version` are filled in by the registry from the distribution that registered it.
    """

    name: str
    summary: str
    target: str
    config: type | str | None = None
    api: tuple[int, int] = (1, 1)
    aliases: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()
    package: str = ""
    version: str = ""

    role = "thing"


@dataclass(frozen=True, kw_only=True)
class SimulatorSpec(Spec):
    """`batch_size`: the compiled batch: every call gets just so many rows, the last ones padded.

    `batch_invariant`: a row's bytes do not depend on the batch it ran in.
    """

    vectorised: bool = True
    stochastic: bool = True
    batch_invariant: bool = False
    differentiable: bool = False
    batch_size: int | None = None

    role = "simulator"


CONSUMES = ("simulations", "simulator", "log_likelihood", "gradient", "observations")
GIVES = ("samples", "arrays", "log_prob", "log_likelihood")


@dataclass(frozen=True, kw_only=True)
class EstimatorSpec(Spec):
    """`consumes`: all of these must be there; one that consumes ("observations",) alone holds its
    own model, and gets the data as a `Dataset`.  `gives`: "samples" are named numbers, in the
    prior's order, "arrays" named arrays with dimensions.  `needs_observed`: fit works for one
    observation.

    `accepts`: "features" (one flat vector of numbers), "arrays" (dense outputs of any shape),
    "ragged".  `rounds`: it can run several rounds towards one observation.

    `improve`: what to try with it, in its own settings, where its posterior turns out to be off; checks
    that fail say so.

    How it takes several trials of one parameter set: `iid`, by their product (what it learned of single
    ones, whatever their number); `sets`, by a network that learns from whole sets.
    """

    consumes: tuple[str, ...] = ("simulations",)
    gives: tuple[str, ...] = ("samples",)
    accepts: tuple[str, ...] = ("features",)
    amortised: bool = True
    rounds: bool = False
    needs_observed: bool = False
    iid: bool = False
    sets: bool = False
    improve: str = ""

    role = "estimator"


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(Spec):
    """`detached`: its jobs outlive this process and are found again on resume; `commands` then names
    a module with status(run, trust=False) -> list, cancel(run) -> int and clean(run) -> int for
    them; status runs and signs in to nothing that only the folder names, unless trusted.
    """

    detached: bool = False
    commands: str = ""

    role = "executor"


@dataclass(frozen=True, kw_only=True)
class FeatureSpec(Spec):
    """`extra`: the pip extra or package that it needs, for the install hint."""

    extra: str = ""

    role = "feature"


@dataclass(frozen=True, kw_only=True)
class PriorSpec(Spec):
    """A family of priors: the target is a distribution class (see inferkit.prior.families)."""

    role = "prior"


@dataclass(frozen=True, kw_only=True)
class DiagnosticSpec(Spec):
    """`needs`: what must be there for it to run; otherwise its verdict is NOT RUN.

    Where the study has no "simulator", or its posterior no named "parameters" or no quick "densities",
    a check that needs them does not apply, and is left out; so is one whose `estimators` do not name
    the fit's.
    """

    needs: tuple[str, ...] = ()
    estimators: tuple[str, ...] = ()

    role = "diagnostic"


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(Spec):
    """Reads observed data: the target is a function of a path (and the config, if it has one).

    `suffixes`: the files' endings (".mat"), "/" for folders.  It returns what a study takes as
    `observed`: a mapping of arrays, a `Dataset`, xarray.
    """

    suffixes: tuple[str, ...] = ()

    role = "reader"


@dataclass(frozen=True, kw_only=True)
class DemoSpec(Spec):
    """`target` is "package:file.toml", a study file within the package; `seconds` what it takes.

    within: "module:function" of a context manager, given the run's folder, that surrounds the demo
        (a site on loopback for an executor that needs one).
    """

    seconds: float = 60.0
    within: str = ""

    role = "demo"


ROLES: dict[str, type[Spec]] = {
    s.role: s
    for s in (
        SimulatorSpec, EstimatorSpec, ExecutorSpec, FeatureSpec, PriorSpec, DiagnosticSpec,
        ReaderSpec, DemoSpec,
    )
}
