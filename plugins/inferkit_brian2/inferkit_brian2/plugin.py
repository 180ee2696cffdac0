"""The records; brian2 is not imported here."""

from inferkit import SimulatorSpec, hookimpl


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="brian2", summary="a neuron's Brian2 equations, compiled once, for many parameter sets",
        target="inferkit_brian2.simulator:Neuron", config="inferkit_brian2.config:Brian2Config",
        batch_invariant=True)
