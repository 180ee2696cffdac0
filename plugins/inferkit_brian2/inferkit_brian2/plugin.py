"""The records; brian2 is not imported here."""

from inferkit import DemoSpec, EstimatorSpec, ReaderSpec, SimulatorSpec, hookimpl


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="brian2",
        summary="a neuron's Brian2 equations, compiled once, for many parameter sets",
        target="inferkit_brian2.simulator:Neuron",
        config="inferkit_brian2.config:Brian2Config",
        batch_invariant=True,
        cites=("stimberg2019brian",),
    )


@hookimpl
def inferkit_estimators():
    yield EstimatorSpec(
        name="optimise",
        summary="the best-fitting parameters (a point): differential evolution, Nevergrad",
        target="inferkit_brian2.optimise:Optimise",
        config="inferkit_brian2.optimise:OptimiseConfig",
        accepts=("features", "arrays", "ragged"),
        amortised=False,
        rounds=True,
        needs_observed=True,
        cites=("storn1997differential", "kistler1997reduction"),
    )


@hookimpl
def inferkit_readers():
    yield ReaderSpec(
        name="sweeps",
        summary="current-clamp sweeps of NWB, ABF and CSV files",
        suffixes=(".nwb", ".abf"),
        target="inferkit_brian2.sweeps:observed",
        config="inferkit_brian2.sweeps:SweepsConfig",
    )


@hookimpl
def inferkit_report_sections(context):
    if context.study.simulator.name != "brian2":
        return []
    from inferkit_brian2.report import sections

    return sections(context)


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="hodgkin-huxley",
        summary="two conductances of a Hodgkin-Huxley neuron from its spikes (Brian2)",
        target="inferkit_brian2:demo.toml",
        seconds=60,
    )
