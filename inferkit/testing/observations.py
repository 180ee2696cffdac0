"""What an estimator promises that holds its own model and learns from observations alone."""

from __future__ import annotations

import numpy as np
import pytest

import inferkit
from inferkit.plugins import Component


class ObservationsSuite:
    """Give fixtures `component` (`inferkit.estimator(...)`, set up for a quick fit) and `observed`
    (what a study takes: a mapping of arrays, a `Dataset`)."""

    draws = 20

    @pytest.fixture
    def component(self) -> Component:
        raise NotImplementedError("give a fixture `component`: inferkit.estimator(...)")

    @pytest.fixture
    def observed(self):
        raise NotImplementedError("give a fixture `observed`")

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("observations")

    @pytest.fixture
    def study(self, component, observed, folder):
        """One run for all tests of a class: what one has fitted, the next loads."""
        return inferkit.Study(estimator=component, observed=observed, seed=3, quiet=True,
                              executor=inferkit.executor("local", workers=0), path=folder / "run")

    def test_its_record_says_so(self, component):
        assert component.spec.consumes == ("observations",), "consumes: observations alone"
        assert "arrays" in component.spec.gives, "gives: named arrays"

    def test_draws_are_arrays_with_dimensions(self, study):
        posterior = study.fit()
        found = posterior.draws(self.draws)
        assert len(found) == self.draws and list(found)
        for name in found:
            assert np.isfinite(found[name]).any(), f"{name} holds no finite number"
        data = found.to_arviz().posterior
        for name in found:
            assert data[name].dims == ("chain", "draw", *found.dims.get(name, ()))

    def test_draws_follow_the_seed(self, study):
        posterior = study.fit()
        first, again, other = (posterior.draws(5, seed=s) for s in (1, 1, 2))
        same = [np.array_equal(first[k], again[k], equal_nan=True) for k in first]
        assert all(same), "one seed gave two sets of draws"
        moved = [not np.array_equal(first[k], other[k], equal_nan=True) for k in first]
        assert any(moved), "two seeds gave the same draws"

    def test_save_and_load(self, study, tmp_path):
        posterior = study.fit()
        folder = posterior.save(tmp_path / "saved")
        assert not list(folder.glob("*.pkl")) and not list(folder.glob("*.pickle"))
        a, b = (p.draws(5, seed=5) for p in (posterior, inferkit.load(folder)))
        for name in a:
            assert np.array_equal(a[name], b[name], equal_nan=True), f"a loaded {name} differs"

    def test_a_finished_fit_is_loaded(self, study):
        study.fit()
        folders = sorted((study.path / "fits").iterdir())
        study.fit()
        assert sorted((study.path / "fits").iterdir()) == folders

    def test_it_fits_alike_twice(self, study):
        a = study.fit().draws(5, seed=5)
        b = study.fit(refit=True).draws(5, seed=5)
        for name in a:
            assert np.allclose(a[name], b[name], rtol=1e-4, atol=1e-5, equal_nan=True), (
                f"the same seed and data gave another {name}")

    def test_what_does_not_apply_is_left_out(self, study):
        study.fit()
        names = {v.name for v in study.check()}
        assert not names & {"sbc", "coverage", "tarp", "contraction", "failures", "misspecification"}
        page = study.report().read_text()
        assert "could not be made" not in page and "its report section failed" not in page
