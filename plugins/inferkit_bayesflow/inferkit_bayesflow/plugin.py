"""The records; neither keras nor bayesflow is imported here."""

from inferkit import DemoSpec, EstimatorSpec, hookimpl


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="bayesflow",
        summary="amortised posterior on bayesflow's networks: flows, flow matching, diffusion; trials",
        target="inferkit_bayesflow.estimator:BayesFlow",
        config="inferkit_bayesflow.config:BayesFlowConfig",
        gives=("samples", "log_prob"), accepts=("features", "arrays"), sets=True,
        improve="epochs = 200, width = 128, layers = 6, summary_width = 256; fresh rows by "
                "online = 51200",
        cites=("radev2023bayesflow", "radev2022bayesflow"),
    )


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="bayesflow", target="inferkit_bayesflow:demo.toml", seconds=110,
        summary="a neuron's four parameters from its voltage trace, trained on fresh simulations")
