"""Plugins: from an entry point to a thing that can be used.

    entry points -> discovery (modules) -> records (data) -> component (record and config) -> built

In comes a name and its settings, out goes a `Component`, whose backend is imported when it is built
and not before.  Own functions become components here as well (`function`, `own_code`).
"""

from inferkit.plugins.component import Component, Repeated, chosen, from_reference, own_simulator
from inferkit.plugins.discovery import (
    OFFICIAL,
    Registry,
    config_class,
    disable,
    get,
    load,
    observers,
    registry,
    resolve,
)
from inferkit.plugins.hooks import hookimpl
from inferkit.plugins.records import (
    API_VERSION,
    CONSUMES,
    GIVES,
    ROLES,
    DemoSpec,
    DiagnosticSpec,
    EstimatorSpec,
    ExecutorSpec,
    FeatureSpec,
    PriorSpec,
    ReaderSpec,
    SimulatorSpec,
    Spec,
)
