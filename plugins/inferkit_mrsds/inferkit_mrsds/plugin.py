"""The records; neither jax nor equinox is imported here."""

from inferkit import DemoSpec, DiagnosticSpec, EstimatorSpec, ReaderSpec, SimulatorSpec, hookimpl

SIMULATORS = {
    "double-well": (
        "DoubleWell",
        "double_well",
        "two regions: evidence pushes a decision over a barrier",
    ),
    "lotka-volterra": ("LotkaVolterra", "lotka_volterra", "prey and predator, forwards and backwards"),
    "three-rnn": ("ThreeRNN", "rnn", "three recurrent networks driven by a sequence and a fixed point"),
    "linear-gaussian-regions": ("LinearGaussian", "linear", "linear Gaussian regions, known edges"),
}


@hookimpl
def inferkit_simulators():
    for name, (cls, module, summary) in SIMULATORS.items():
        config = {"ThreeRNN": "RNN"}.get(cls, cls) + "Config"
        yield SimulatorSpec(
            name=name, summary=summary, target=f"inferkit_mrsds.simulators.{module}:{cls}",
            config=f"inferkit_mrsds.simulators.config:{config}", batch_invariant=True)


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="mrsds", summary="switching nonlinear dynamics of several regions and their messages",
        target="inferkit_mrsds.estimator:MRSDS", config="inferkit_mrsds.config:MRSDSConfig",
        consumes=("observations",), gives=("arrays",), accepts=("arrays", "ragged"), amortised=False,
        needs_observed=True, cites=("karniol2024modeling", "bradbury2018jax"))


CHECKS = {
    "mrsds-baselines": ("Baselines", "held-out neurons and likelihood beside simple models"),
    "mrsds-forecast": ("Forecasts", "R² of activity by horizon"),
    "mrsds-messages": ("MessageCheck", "whether each message is needed, and no own dynamics"),
    "mrsds-stability": ("Stability", "states and messages of fits from other seeds"),
    "mrsds-predictive": ("Statistics", "activity that the model makes by itself"),
}


@hookimpl
def inferkit_diagnostics():
    for name, (cls, summary) in CHECKS.items():
        yield DiagnosticSpec(name=name, summary=summary, estimators=("mrsds",),
                             target=f"inferkit_mrsds.diagnostics:{cls}")


@hookimpl
def inferkit_report_sections(context):
    if context.posterior.estimator.name != "mrsds":
        return []
    from inferkit_mrsds.report import sections

    return sections(context)


@hookimpl
def inferkit_demos():
    yield DemoSpec(name="mrsds", summary="two regions that switch, and what one tells the other",
                   target="inferkit_mrsds:demo.toml", seconds=120)


@hookimpl
def inferkit_readers():
    yield ReaderSpec(name="mrsds", summary="trials of several regions (ys, us, region_sizes)",
                     target="inferkit_mrsds.files:read", suffixes=())
