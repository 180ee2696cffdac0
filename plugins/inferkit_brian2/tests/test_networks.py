"""Networks side by side: rows independent to the byte, and like single networks in distribution."""

import inferkit_brian2 as ib
import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeMonitor, StateMonitor, Synapses, mV
from networks import E, make

import inferkit as ik
from inferkit import seeds


def rows(n):
    return seeds.row_seeds(3, 0, np.arange(n))


def test_a_row_is_the_same_beside_any_others():
    """Noise, random start and random synapses alike."""
    w = np.linspace(0.02, 0.08, 20)
    simulator = make()
    whole = simulator.simulate({"exc.w": w}, rows(20))
    part = simulator.simulate({"exc.w": w[[12, 3]]}, rows(20)[[12, 3]])
    for name in ("rate", "counts", "v"):
        assert part[name].tobytes() == whole[name][[12, 3]].tobytes()
    assert np.array_equal(part["spikes"][0], whole["spikes"][12])
    assert np.array_equal(whole["counts"].sum(1), whole["spikes"].lengths)
    np.testing.assert_allclose(whole["rate"].mean(1), whole["counts"].mean(1) / 0.2)
    alike = simulator.simulate({}, rows(3))["counts"]
    assert not np.array_equal(alike[0], alike[1])


def of_three(n):
    """Copies that fill no vector, with mathematics and noise in neurons and synapses."""
    cells = NeuronGroup(
        n * 3,
        """dv/dt = (20*mV*exp(-(v/(30*mV))**2) - v + drive)/(10*ms) + 4*mV*sqrt(2/(10*ms))*xi : volt
        drive : volt (constant)""",
        method="euler",
        threshold="rand() < exp((v - 12*mV)/mV)*dt/ms",
        reset="v = randn()*mV",
        name="cells",
    )
    synapses = Synapses(
        cells,
        cells,
        "ds/dt = -s*exp(-s**2)/(5*ms) + sqrt(2/(5*ms))*xi_s : 1 (clock-driven)",
        on_pre="v_post += s*mV",
        method="euler",
        name="links",
    )
    synapses.connect(j=ib.within(3, 3))
    seen = StateMonitor(cells, "v", record=True, name="seen")

    def begin():
        cells.v = "exp(rand())*mV"
        synapses.s = "exp(randn())"

    return Network(cells, synapses, SpikeMonitor(cells, name="out"), seen), begin


def test_every_element_is_computed_alike():
    """The last neurons and synapses of a block, which would be the remainder of a loop of vectors."""
    trace = {"monitor": "seen", "kind": "trace", "variable": "v", "unit": "mV", "bin": "0.1 ms"}
    simulator = ib.network(
        batch=of_three,
        duration="30 ms",
        rows=7,
        engine="cpp",
        parameters={"cells.drive": "5 mV"},
        outputs={"spikes": {"monitor": "out", "kind": "spikes", "size": 3}, "v": {**trace, "size": 3}},
    )
    drive = np.linspace(2, 12, 7)
    whole = simulator.simulate({"cells.drive": drive}, rows(7))
    assert whole["spikes"].lengths.sum() > 20
    for i in range(7):
        one = simulator.simulate({"cells.drive": drive[[i]]}, rows(7)[[i]])
        assert one["v"].tobytes() == whole["v"][[i]].tobytes()
        assert np.array_equal(one["spikes"][0], whole["spikes"][i])
    back = simulator.simulate({"cells.drive": drive[::-1]}, rows(7)[::-1])
    assert back["v"].tobytes() == whole["v"][::-1].tobytes()


def test_a_study_of_networks(tmp_path):
    study = ik.Study(
        make(),
        ik.Prior({"exc.w": ik.Uniform(0.02, 0.08), "exc.drive": ik.Uniform(14, 20, unit="mV")}),
        path=tmp_path / "run",
        seed=1,
        quiet=True,
        executor=ik.executor("local", workers=1),
        features={"rate": lambda x: x["rate"].mean(1)},
    )
    progress = study.simulate(40)
    assert progress.counts == {"ok": 40} and "networks side by side" in progress.notes.pop()
    first = study.simulations.x()["rate"]
    other = ik.Study(
        make(),
        study.prior,
        path=tmp_path / "other",
        seed=1,
        quiet=True,
        executor=ik.executor("local", workers=0),
    )
    other.simulate(17)
    assert np.array_equal(other.simulations.x()["rate"], first[:17])


def test_a_networks_prior_has_its_units():
    with pytest.raises(Exception, match="takes exc.drive in mV"):
        make().check_prior(ik.Prior({"exc.drive": ik.Uniform(14, 20)}))


def single(params):
    group = NeuronGroup(
        10,
        "dv/dt = (mu - v)/(10*ms) + sigma*sqrt(2/(10*ms))*xi : volt",
        method="euler",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        name="cells",
        namespace={"mu": params["mu"], "sigma": 3 * mV},
    )
    return Network(group, SpikeMonitor(group, name="out"))


def test_a_network_built_for_each_row():
    simulator = ib.network(
        build=single,
        parameters={"mu": "8 mV"},
        duration="100 ms",
        engine="numpy",
        outputs={"counts": {"monitor": "out", "kind": "counts", "size": 10}},
    )
    x = simulator.simulate({"mu": np.array([2.0, 8.0, 14.0])}, rows(3))["counts"]
    assert (np.diff(x.sum(1)) > 0).all()
    again = simulator.simulate({"mu": np.array([14.0])}, rows(3)[2:])["counts"]
    assert np.array_equal(again[0], x[2])


def of_order(n, order):
    """What no array can change: the equations themselves."""
    group = NeuronGroup(
        n * 2,
        f"dv/dt = (20*mV - v)/tau * {int(order)} : volt\ntau : second (constant)",
        method="exact",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        name="cells",
    )
    return Network(group, SpikeMonitor(group, name="out"))


def test_structural_parameters_have_programs_of_their_own():
    simulator = ib.network(
        batch=of_order,
        structural=("order",),
        duration="50 ms",
        rows=4,
        parameters={"order": 1, "cells.tau": "10 ms"},
        outputs={"spikes": {"monitor": "out", "kind": "spikes", "size": 2}},
    )
    x = simulator.simulate(
        {"order": np.array([1.0, 2.0, 1.0]), "cells.tau": np.array([10.0, 10.0, 20.0])}, rows(3)
    )["spikes"]
    period = 10 * np.log(2)
    for row, told in zip(x, (period, period / 2, 2 * period)):
        np.testing.assert_allclose(np.diff(row[::2])[1:], told, atol=0.11)


@pytest.mark.slow
def test_side_by_side_is_like_one_by_one():
    """Mean rates of compiled copies and of networks in plain Brian2, which draws other numbers."""
    n = 48
    fast, plain = (
        make(engine=e).simulate({}, rows(n))["counts"].mean(1) / 0.2 for e in ("cpp", "numpy")
    )
    gap = fast.mean() - plain.mean()
    assert abs(gap) < 4 * np.sqrt((fast.var() + plain.var()) / n)
    assert E == 80
