"""The records; jax is not imported here."""

from inferkit import DemoSpec, SimulatorSpec, hookimpl


@hookimpl
def inferkit_simulators():
    yield SimulatorSpec(
        name="vbjax", summary="whole-brain network of neural masses on JAX; batched, differentiable",
        target="inferkit_vbjax.simulator:Network", config="inferkit_vbjax.config:NetworkConfig",
        differentiable=True, cites=("bradbury2018jax",))
    yield SimulatorSpec(
        name="vbjax-field", summary="neural field on the sphere, coupled by spherical harmonics",
        target="inferkit_vbjax.field:Field", config="inferkit_vbjax.config:FieldConfig",
        differentiable=True, cites=("bradbury2018jax",))


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="vbjax", target="inferkit_vbjax:demo.toml", seconds=60,
        summary="excitability and noise of ten coupled neural masses")
