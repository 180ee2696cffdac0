"""What a simulator promises: names, shapes, seeds, independence of rows, a trip to a worker."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inferkit import seeds
from inferkit.data import Chunk, Job, Ragged
from inferkit.plugins import Component
from inferkit.plugins import component as components
from inferkit.plugins.soundness import same
from inferkit.simulate import checked_output, run_chunk

ROOT = 20240501


class SimulatorSuite:
    """Give a fixture `component` (`inferkit.simulator(...)`), and `theta` where the parameters'
    defaults are not a good place to test at."""

    rows = 6

    @pytest.fixture
    def component(self) -> Component:
        raise NotImplementedError("give a fixture `component`: inferkit.simulator(...)")

    @pytest.fixture
    def simulator(self, component):
        built = component.build()
        if hasattr(built, "prepare"):
            built.prepare()
        return built

    @pytest.fixture
    def theta(self, simulator):
        """Parameters (n, *shape) around the declared defaults."""
        declared = simulator.parameters or ()
        lacking = [p.name for p in declared if p.default is None]
        assert declared and not lacking, (
            f"parameters {lacking or '(none declared)'} have no default: give a fixture `theta`")
        rng = np.random.default_rng(ROOT)
        out = {}
        for p in declared:
            base = np.broadcast_to(np.asarray(p.default, dtype=float), p.shape)
            out[p.name] = base * (1 + 0.02 * rng.standard_normal((self.rows, *p.shape)))
        return out

    def run(self, component, simulator, theta, row_seeds):
        """One call, padded to the compiled batch where there is one."""
        n = len(row_seeds)
        pad = max((component.spec.batch_size or 0) - n, 0)
        theta = {k: np.concatenate([v, np.repeat(v[-1:], pad, 0)]) for k, v in theta.items()}
        full = np.concatenate([row_seeds, np.repeat(row_seeds[-1:], pad)])
        return {k: v[:n] for k, v in simulator.simulate(theta, full).items()}

    @pytest.fixture
    def row_seeds(self, theta):
        return seeds.row_seeds(ROOT, 0, np.arange(len(next(iter(theta.values())))))

    def test_declares_parameters_and_outputs(self, simulator):
        """A study can refuse a wrong name before it simulates."""
        names = [p.name for p in simulator.parameters or ()]
        assert len(names) == len(set(names)), f"a parameter is declared twice: {names}"
        outputs = [o.name for o in simulator.outputs or ()]
        assert len(outputs) == len(set(outputs)), f"an output is declared twice: {outputs}"

    def test_returns_its_outputs_batch_first(self, component, simulator, theta, row_seeds):
        result = simulator.simulate(theta, row_seeds) if not component.spec.batch_size else \
            self.run(component, simulator, theta, row_seeds)
        assert isinstance(result, dict), f"simulate returned {type(result).__name__}, not a dict"
        declared = {o.name: o for o in simulator.outputs or ()}
        if declared:
            assert set(result) == set(declared), (
                f"returned {sorted(result)}, declared {sorted(declared)}")
        for name, value in result.items():
            checked_output(name, value, len(row_seeds), declared.get(name))

    def test_one_row_works(self, component, simulator, theta, row_seeds):
        one = self.run(component, simulator, {k: v[:1] for k, v in theta.items()}, row_seeds[:1])
        assert all(len(v) == 1 for v in one.values()), "one parameter set must give one row"

    def test_the_same_seed_repeats(self, component, simulator, theta, row_seeds):
        first = self.run(component, simulator, theta, row_seeds)
        again = self.run(component, simulator, theta, row_seeds)
        assert same(first, again), (
            "the same parameters and seeds gave two answers: draw all randomness from the seeds")

    def test_another_seed_changes_a_stochastic_simulator(self, component, simulator, theta,
                                                         row_seeds):
        other = seeds.row_seeds(ROOT + 1, 0, np.arange(len(row_seeds)))
        equal = same(self.run(component, simulator, theta, row_seeds),
                     self.run(component, simulator, theta, other))
        if getattr(simulator, "stochastic", component.spec.stochastic):
            assert not equal, "two seeds gave the same answer: the noise ignores its seed"
        else:
            assert equal, "declared deterministic, but another seed changes the answer"

    def test_rows_do_not_share_noise(self, component, simulator, theta, row_seeds):
        if not getattr(simulator, "stochastic", component.spec.stochastic):
            pytest.skip("deterministic")
        alike = {k: np.repeat(v[:1], len(row_seeds), 0) for k, v in theta.items()}
        result = self.run(component, simulator, alike, row_seeds)
        distinct = {bytes(b"".join(_bytes(v[i]) for v in result.values()))
                    for i in range(len(row_seeds))}
        assert len(distinct) == len(row_seeds), (
            "rows of one batch share their noise: give each row the noise of its own seed")

    def test_a_row_does_not_depend_on_its_batch(self, component, simulator, theta, row_seeds):
        whole = self.run(component, simulator, theta, row_seeds)
        order = np.arange(len(row_seeds))[::-1]
        turned = self.run(component, simulator, {k: v[order] for k, v in theta.items()},
                          row_seeds[order])
        part = self.run(component, simulator, {k: v[1:3] for k, v in theta.items()}, row_seeds[1:3])
        for name, value in whole.items():
            for got, expected in ((turned[name][order], value), (part[name], value[1:3])):
                if component.spec.batch_invariant:
                    assert same({"x": got}, {"x": expected}), (
                        f"output {name!r} differs in another batch, to the byte; make rows "
                        "independent, or declare batch_invariant=False")
                elif not isinstance(value, Ragged):
                    assert np.allclose(got, expected, rtol=1e-3, atol=1e-6, equal_nan=True), (
                        f"output {name!r} of a row depends on the rows beside it")

    def test_does_not_change_its_arguments(self, component, simulator, theta, row_seeds):
        n = component.spec.batch_size or len(row_seeds)
        full = {k: np.resize(v, (n, *v.shape[1:])) for k, v in theta.items()}
        before = {k: v.copy() for k, v in full.items()}
        simulator.simulate(full, np.resize(row_seeds, n))
        assert same(before, full), "simulate changed the parameters it was given"

    def test_travels_to_a_worker(self, component, theta, row_seeds):
        """The reference survives JSON, and `run_chunk` runs it like anybody's."""
        reference = json.loads(json.dumps(component.reference()))
        again = components.from_reference(reference)
        assert again.name == component.name
        job = Job(reference, ROOT, "key")
        receipt = run_chunk(job, Chunk("c", 0, np.arange(len(row_seeds)), theta))
        assert receipt.error is None, receipt.error
        assert receipt.counts == {"ok": len(row_seeds)}, (receipt.counts, receipt.messages)

    def test_parameters_left_out_take_their_defaults(self, component, simulator, theta, row_seeds):
        free = [p.name for p in simulator.parameters or () if p.default is not None]
        if len(theta) < 2 or not free:
            pytest.skip("nothing can be left out")
        some = {k: v for k, v in theta.items() if k not in free[:1]}
        self.run(component, simulator, some, row_seeds)


def _bytes(value: object) -> bytes:
    return np.ascontiguousarray(value).tobytes()
