"""The records; neither jax nor equinox is imported here."""

from inferkit import DemoSpec, DiagnosticSpec, EstimatorSpec, SimulatorSpec, hookimpl

SIMULATORS = {
    "double-well": ("DoubleWell", "double_well", "two regions: evidence pushes a decision over a barrier"),
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
        needs_observed=True)
