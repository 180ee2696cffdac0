"""Registers the UNICORE executor; imports nothing but inferkit."""

from inferkit import DemoSpec, ExecutorSpec, hookimpl


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="unicore", summary="jobs at an HPC site over UNICORE's REST interface",
        target="inferkit_unicore.executor:UnicoreExecutor",
        config="inferkit_unicore.config:UnicoreConfig", detached=True,
        commands="inferkit_unicore.commands",
    )


@hookimpl
def inferkit_demos():
    yield DemoSpec(
        name="unicore", target="inferkit_unicore:demo.toml", seconds=40,
        within="inferkit_unicore.testserver.demo:site",
        summary="the LIF neuron's study as jobs of a UNICORE site, started here on loopback")
