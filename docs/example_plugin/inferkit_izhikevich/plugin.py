"""What this package registers.  It imports inferkit only, so listing plugins stays quick."""

from inferkit import DemoSpec, FeatureSpec, ReaderSpec, SimulatorSpec, hookimpl


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="izhikevich",
        summary="Izhikevich's two-variable spiking neuron",
        target="inferkit_izhikevich.simulator:Izhikevich",
        config="inferkit_izhikevich.simulator:IzhikevichConfig",
        batch_invariant=True,
    )


@hookimpl
def inferkit_features():
    yield FeatureSpec(
        name="burstiness",
        summary="share of inter-spike intervals shorter than a bound",
        target="inferkit_izhikevich.feature:Burstiness",
        config="inferkit_izhikevich.feature:BurstinessConfig",
    )


@hookimpl
def inferkit_readers():
    yield ReaderSpec(
        name="spike_times",
        summary="spike times in ms, one a line",
        suffixes=(".spikes",),
        target="inferkit_izhikevich.feature:read_spikes",
    )


@hookimpl
def inferkit_demos():
    yield DemoSpec(name="izhikevich", summary="what a cell's bursts say of its reset",
                   target="inferkit_izhikevich:demo.toml", seconds=10)


@hookimpl
def inferkit_report_sections(context):
    if context.study.simulator.name == "izhikevich":
        from inferkit_izhikevich.section import firing_types

        yield firing_types(context)
