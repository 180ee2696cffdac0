"""vbjax, imported without what importing it does to the process: it prints, and sets variables."""

import contextlib
import io
import os

import pytest


@pytest.fixture(scope="session")
def vb():
    before = dict(os.environ)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import vbjax
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
    return vbjax
