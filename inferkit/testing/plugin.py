"""What every plugin promises: records that are right, listed without their backends."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from inferkit import plugins
from inferkit.commands import doctor
from inferkit.plugins import ROLES, hooks


class PluginSuite:
    """Give a fixture `module` (the entry point's module path) and `backends`, import names that
    listing must not load."""

    @pytest.fixture
    def module(self) -> str:
        raise NotImplementedError('give a fixture `module`: "my_package.plugin"')

    @pytest.fixture
    def backends(self) -> tuple[str, ...]:
        return ()

    @pytest.fixture
    def records(self, module):
        loaded = importlib.import_module(module)
        return [(role, record) for role, hook in hooks.REGISTERING.items()
                for record in (getattr(loaded, hook, None) or (lambda: ()))()]

    def test_records_are_of_their_role(self, records):
        assert records, "the plugin registers nothing"
        for role, record in records:
            assert isinstance(record, ROLES[role]), f"{record!r} is no {ROLES[role].__name__}"
            assert record.summary and record.summary[0] != " ", f"{record.name} has no summary"

    def test_targets_load_and_have_their_methods(self, records):
        for _, record in records:
            text, healthy = doctor.check(record.name)
            assert healthy, text

    def test_is_found_by_its_entry_point(self, records):
        for role, record in records:
            assert plugins.registry().find(role, record.name), (
                f"{record.name} is not registered: install the package (pip install -e .)")

    def test_listing_imports_no_backend(self, module, backends):
        code = (f"import sys, {module}; "
                f"print([m for m in {tuple(backends)!r} if m in sys.modules])")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "[]", f"importing {module} also imports {done.stdout}"
