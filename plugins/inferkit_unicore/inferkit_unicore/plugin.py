"""Registers the UNICORE executor; imports nothing but inferkit."""

from inferkit import ExecutorSpec, hookimpl


@hookimpl
def inferkit_executors():
    yield ExecutorSpec(
        name="unicore", summary="jobs at an HPC site over UNICORE's REST interface",
        target="inferkit_unicore.executor:UnicoreExecutor",
        config="inferkit_unicore.config:UnicoreConfig", detached=True,
        commands="inferkit_unicore.commands",
    )
