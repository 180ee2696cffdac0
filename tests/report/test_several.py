"""Several observations: a menu, and a section for each with its own draws, pictures and data."""

import re

import numpy as np
import pytest

import inferkit as ik
from inferkit.report import several
from tests.report.test_report import written


def simulate(theta, rng):
    return {"v": theta["a"] + 0.1 * rng.standard_normal(40), "s": np.array([theta["a"], 1.0])}


def study(path, observed, **more):
    made = ik.Study(simulate, ik.Prior({"a": ik.Uniform(0, 1)}), path=path, quiet=True,
                    features=["stats"], executor=ik.executor("local", workers=0), **more)
    made.observed = observed
    made.simulate(400)
    made.fit()
    return made


def sections(html, title):
    part = html[html.index(f'<section id="{title}">'):].partition("</section>")[0]
    one = r'<div class="obs obs-(\d+)"><h3>Observation (\d+)</h3>(.*?)(?=<div class="obs|$)'
    return re.findall(one, part, re.DOTALL)


@pytest.mark.parametrize("kind", ["stacked", "listed"])
def test_each_observation_has_its_sections(tmp_path, kind):
    each = [{"v": np.full(40, a), "s": np.array([a, 1.0])} for a in (0.2, 0.8)]
    observed = each if kind == "listed" else {k: np.stack([o[k] for o in each]) for k in each[0]}
    made = study(tmp_path / "run", observed, truth={"a": 0.2})
    context = made.context()
    with made.store.writing(), made.running.open():
        html, page = written(tmp_path, context, made.checks())
    buttons = re.findall(r'<input type="radio" name="obs" id="obs-(\d)"( checked)?>', html)
    assert buttons == [("0", " checked"), ("1", "")]
    assert "body:has(#obs-1:checked) .obs:not(.obs-1){display:none}" in html
    for title in ("parameters", "posterior", "posterior-predictive"):
        found = sections(html, title)
        assert [(a, b) for a, b, _ in found] == [("0", "0"), ("1", "1")], title
    means = [float(re.search(r"([\d.]+) ± ", body)[1]) for *_, body in sections(html, "parameters")]
    assert means == pytest.approx(context.samples.values.mean(axis=(1, 2)), abs=1e-3)
    assert abs(means[0] - 0.2) < 0.05 and abs(means[1] - 0.8) < 0.05
    assert "Truth: orange" not in html, "it would be of one of them only"
    predicted = [context.singles[i].predictive.x["v"].mean() for i in (0, 1)]
    assert abs(predicted[0] - 0.2) < 0.05 and abs(predicted[1] - 0.8) < 0.05
    assert any(label.endswith(", observation 1") for label in page.labels)


def test_what_would_take_long_is_not_simulated_unasked(tmp_path, monkeypatch):
    made = study(tmp_path / "run", {"v": np.full((3, 40), 0.5), "s": np.full((3, 2), 0.5)})
    monkeypatch.setattr(several, "SECONDS", 0.0)
    with made.store.writing(), made.running.open():
        html, _ = written(tmp_path, made.context(), made.checks())
    found = sections(html, "posterior-predictive")
    assert ["Not simulated for this observation" in body for *_, body in found] == [False, True, True]
    assert len(made.store.rounds()) == 2, "the prior's, and that of the first"


def test_a_menu_is_not_endless(tmp_path):
    made = study(tmp_path / "run", {"v": np.full((15, 40), 0.5), "s": np.full((15, 2), 0.5)})
    with made.store.writing(), made.running.open():
        html, _ = written(tmp_path, made.context(), made.checks())
    assert len(re.findall('type="radio"', html)) == several.MOST == 12
    assert "The first 12 of 15 observations." in html


def test_one_observation_has_no_menu(tmp_path):
    made = study(tmp_path / "run", {"v": np.full(40, 0.5), "s": np.full(2, 0.5)})
    with made.store.writing(), made.running.open():
        html, _ = written(tmp_path, made.context(), made.checks())
    assert 'type="radio"' not in html and 'class="obs' not in html
