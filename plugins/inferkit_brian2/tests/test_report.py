"""The report's section: input, recording and model on one time axis, the f-I curve."""

import re
from pathlib import Path

import numpy as np
from inferkit_brian2 import report
from neurons import hh, lif

import inferkit as ik

TAU = {"tau": ik.Uniform(8, 20, unit="ms")}
LOCAL = ik.executor("local", workers=0)


def study_of(simulator, path, prior, features, **settings):
    truth = {k: np.array([np.mean(v.support)]) for k, v in prior.items()}
    x = simulator.build().simulate(truth, np.arange(1, dtype=np.uint64))
    study = ik.Study(
        simulator,
        ik.Prior(prior),
        features=features,
        estimator=ik.estimator("abc-rejection", accept=0.2),
        path=path,
        seed=1,
        quiet=True,
        executor=LOCAL,
        observed={k: v[0] for k, v in x.items()},
        **settings,
    )
    study.simulate(80)
    study.fit()
    return study


def page_of(study, tmp_path):
    page = Path(study.report(tmp_path / "report.html")).read_text()
    assert "report section failed" not in page and "Plugin brian2" not in page
    return page


def section(page):
    found = re.search(r'<section[^>]*id="protocols".*?</section>', page, re.S)
    return found and found[0]


def test_protocols_are_drawn_with_their_input(tmp_path):
    steps = ["0.2 nA", "0.6 nA", "1 nA"]
    simulator = hh(inputs={"I": {"steps": steps, "onset": "20 ms", "end": "90 ms"}}, record_dt="0.5 ms")
    spikes = {"n": lambda x: {f"n{p}": x[f"spikes.{p}"].lengths.astype(float) for p in range(3)}}
    study = study_of(simulator, tmp_path / "run", {"g_na": ik.Uniform(20, 60, unit="uS")}, spikes)
    told = section(page_of(study, tmp_path))
    for word in ("protocol 0", "protocol 2", "v (mV)", "I (nA)", "traces and spikes", "90 % of draws"):
        assert word in told


def test_spikes_alone_are_drawn_and_one_protocol_has_no_curve(tmp_path):
    simulator = lif(record=(), duration="50 ms")
    study = study_of(simulator, tmp_path / "run", TAU, ["spike_count"])
    told = section(page_of(study, tmp_path))
    assert "spikes of posterior draws" in told and "I (nA)" in told
    assert "protocol 0" not in told and "recorded and predicted" not in told


def test_features_in_place_of_traces_leave_nothing_to_draw(tmp_path):
    simulator = lif(record=(), duration="50 ms", reduce=["spike_count"])
    study = study_of(simulator, tmp_path / "run", TAU, None)
    assert section(page_of(study, tmp_path)) is None


def test_the_curve_is_of_the_largest_change():
    steps = ["-0.1 nA", "0.4 nA", "0.2 nA"]
    model = lif(inputs={"I": {"steps": steps, "onset": "5 ms", "end": "50 ms"}}).build().model
    t, values = report.drive(model, "I", 1)
    assert t[-1] < 60.0 and np.isclose(values.max(), 0.4) and np.isclose(values[0], 0.0)
    drawn = {f"spikes.{p}": ik.Ragged.from_rows([[1.0] * p, [1.0] * (p + 1)]) for p in range(3)}
    told = report.curve(model, drawn, {})
    assert "Spikes against the size of I" in told
    same = lif(inputs={"I": {"steps": ["0.2 nA"] * 3, "onset": "5 ms", "end": "50 ms"}}).build().model
    assert report.curve(same, drawn, {}) == ""
