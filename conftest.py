"""Tests share the cores by backend: one process for all that compile or train with one library, so
that what one test has built, the next one uses."""

import pytest

BACKENDS = {
    "inferkit_sbi": "torch", "inferkit_bayesflow": "keras",
    "inferkit_vbjax": "jax", "inferkit_numpyro": "jax", "inferkit_mrsds": "jax-mrsds",
    "inferkit_tvb": "tvb", "inferkit_brian2": "brian2",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        place = item.path.parts
        backend = next((name for part, name in BACKENDS.items() if part in place), None)
        item.add_marker(pytest.mark.xdist_group(backend or str(item.path)))
