import jax
import pytest

import inferkit as ik

# As the page's tutorial, so that the two share programs.
QUICK = {"steps": 80, "evaluate": 40, "init_steps": 120, "warmup": 20, "restarts": 2}


@pytest.fixture(scope="session", autouse=True)
def quick_programs():
    """Nearly all time goes into compiling; steps are few, so slower programs are the faster tests."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def quick():
    """Settings of a short fit: tests that share them, and the shapes of `wells`, compile once."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def wells():
    return ik.simulator("double-well", neurons=[10, 8]).build().dataset(32, seed=3)


@pytest.fixture(scope="session")
def fitted(wells, quick):
    """A short fit of the double well, for what must hold of any fit."""
    return ik.estimator("mrsds", K=2, training=quick).build().train(wells, seed=0)
