import pytest

import inferkit as ik

QUICK = {"steps": 60, "evaluate": 30, "batch": 16, "warmup": 10, "init_steps": 20, "restarts": 2}


@pytest.fixture(scope="session")
def wells():
    return ik.simulator("double-well", neurons=[8, 7]).build().dataset(24, seed=1)


@pytest.fixture(scope="session")
def fitted(wells):
    """A short fit of the double well, for what must hold of any fit."""
    return ik.estimator("mrsds", K=2, training=QUICK).build().train(wells, seed=0)
