"""The records; TVB is not imported here."""

from inferkit import DemoSpec, FeatureSpec, SimulatorSpec, hookimpl


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="tvb", summary="The Virtual Brain: any region simulation; compiled kernels where it can",
        target="inferkit_tvb.simulator:TVB", config="inferkit_tvb.config:TVBConfig",
        batch_invariant=True, cites=("sanzleon2013virtual",))


@hookimpl
def inferkit_features():
    yield FeatureSpec(
        name="phase", summary="phase synchrony, metastability, phase locking of nodes",
        target="inferkit_tvb.features:Phase", config="inferkit_tvb.features:PhaseConfig")


@hookimpl
def inferkit_report_sections(context):
    if context.study.simulator.name != "tvb":
        return []
    from inferkit_tvb.report import sections

    return sections(context)


@hookimpl
def inferkit_demos():
    yield DemoSpec(name="tvb", summary="coupling and excitability of a whole-brain network from BOLD",
                   target="inferkit_tvb:demo.toml", seconds=90)
