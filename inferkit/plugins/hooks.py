"""The hooks.  The first eight register records; the last two observe.  None alters data in flow.

Implement a hook in your `plugin.py`:

    from inferkit import hookimpl, SimulatorSpec

    @hookimpl
    def inferkit_simulators():
        yield SimulatorSpec(name="mine", summary="…", target="my_package.simulator:Mine")
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from inferkit.plugins.records import (
    DemoSpec,
    DiagnosticSpec,
    EstimatorSpec,
    ExecutorSpec,
    FeatureSpec,
    PriorSpec,
    ReaderSpec,
    SimulatorSpec,
)

GROUP = "inferkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def inferkit_simulators() -> Iterable[SimulatorSpec]:
    """Register simulators."""
    return ()


@hookspec
def inferkit_estimators() -> Iterable[EstimatorSpec]:
    """Register estimators."""
    return ()


@hookspec
def inferkit_executors() -> Iterable[ExecutorSpec]:
    """Register executors."""
    return ()


@hookspec
def inferkit_features() -> Iterable[FeatureSpec]:
    """Register features of raw outputs."""
    return ()


@hookspec
def inferkit_priors() -> Iterable[PriorSpec]:
    """Register families of priors."""
    return ()


@hookspec
def inferkit_diagnostics() -> Iterable[DiagnosticSpec]:
    """Register diagnostics."""
    return ()


@hookspec
def inferkit_readers() -> Iterable[ReaderSpec]:
    """Register readers of observed data."""
    return ()


@hookspec
def inferkit_demos() -> Iterable[DemoSpec]:
    """Register demos: study files that end, with a report, in at most two minutes."""
    return ()


@hookspec
def inferkit_batch_stored(path: str, receipt: Any) -> None:
    """Observe that a chunk's rows reached the store of the run at `path`."""


@hookspec
def inferkit_report_sections(context: Any) -> Iterable[Any]:
    """Add sections to the report: `inferkit.report.Section`s made from the report's context."""
    return ()


REGISTERING = {
    "simulator": "inferkit_simulators",
    "estimator": "inferkit_estimators",
    "executor": "inferkit_executors",
    "feature": "inferkit_features",
    "prior": "inferkit_priors",
    "diagnostic": "inferkit_diagnostics",
    "reader": "inferkit_readers",
    "demo": "inferkit_demos",
}
