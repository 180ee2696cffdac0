"""The report: complete, offline, escaped, and rendered by a real browser."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import inferkit as ik
from inferkit import diagnose, plugins, report
from inferkit.report import section, style
from tests.diagnose import studies

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
LOADS = re.compile(r"""(?:src|href|srcset)\s*=\s*["'](?!data:|#)""", re.I)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """(context, checks) of a study with a mild fault."""
    study = studies.gaussian(tmp_path_factory.mktemp("run"), stretch=0.7, info={
        "loss": [3.0, 2.0, 1.5, 1.2], "validation_loss": [3.1, 2.2, 1.8, 1.7]})
    return studies.check(study)


class Reader(HTMLParser):
    """Headings, tags that were never closed, and how many pictures there are."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, html):
        super().__init__()
        self.open, self.titles, self.pictures, self.labels = [], [], 0, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag == "svg":
            self.pictures += 1
            self.labels.append(told.get("aria-label", ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def written(tmp_path, context, checks):
    html = report.write(tmp_path / "deep" / "report.html", context, checks).read_text("utf-8")
    page = Reader(html)
    assert not page.open and all(page.labels), "unclosed tags, or a picture without words"
    assert not LOADS.search(html) and "<script" not in html and "@import" not in html
    assert "could not be made" not in html, re.findall(r"could not be made[^<]*", html)
    assert len(html) < 3_000_000
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert used <= set(ids)
    return html, page


def test_the_sections_come_in_order_worst_verdict_first(tmp_path, gaussian):
    html, page = written(tmp_path, *gaussian)
    assert page.titles == [name for name in report.SECTIONS if name != "Posterior arrays"]
    assert page.pictures >= 5
    cards = re.findall(r'class="card ([A-Z-]+)"', html)
    assert cards == sorted(cards, key=["FAIL", "WARN", "NOT-RUN", "PASS"].index)
    assert '<div class="badge FAIL"' in html and "theta[0]" in html
    assert not list((tmp_path / "deep").glob("*.tmp")), "a leftover of the atomic write"


def test_stand_in_colours_all_become_variables(tmp_path, gaussian):
    html, _ = written(tmp_path, *gaussian)
    for colour in style.ROLES.values():
        assert colour not in html
    assert "var(--posterior)" in html and "prefers-color-scheme" in html


@pytest.mark.parametrize("case", [
    {"dim": 1}, {"dim": 12}, {"observed": False, "truth": False}, {"amortised": False},
    {"n": 100},
], ids=["one parameter", "twelve", "no observation", "not amortised", "few simulations"])
def test_other_shapes_of_study(tmp_path, case):
    study = studies.gaussian(tmp_path / "run", **case)
    html, _ = written(tmp_path, *studies.check(study))
    if case.get("dim") == 12:
        assert "8 of 12 parameters" in html


def test_a_narrow_screen_has_pictures_and_lists_of_its_own(tmp_path, gaussian):
    html, page = written(tmp_path, *gaussian)
    narrow = re.findall(r'<div class="picture on-narrow"><svg [^>]*max-width:(\d+)px', html)
    assert len(narrow) == html.count("<figure>") and set(narrow) == {"360"}
    assert page.pictures == 2 * len(narrow)
    wide = re.findall(r'class="wide picture on-wide" tabindex="0"><svg [^>]*max-width:(\d+)px', html)
    assert len(wide) == len(narrow) and min(map(int, wide)) > 500
    assert 'class="stack"' in html and 'data-label="contraction"' in html


def test_parameters_stand_in_the_prior_s_order(tmp_path, gaussian):
    context, checks = gaussian
    html, _ = written(tmp_path, context, checks)
    for label in re.findall(r'aria-label="([^"]*theta\[[^"]*)"', html):
        told = re.findall(r"theta\[(\d)\]", label)
        assert told == sorted(told), label


def test_names_are_text_and_never_markup(tmp_path):
    prior = ik.Prior({"<b>&g$": ik.Normal(0, 1, unit="<i>&"), "_$x$y": ik.Uniform(0, 1)})

    def simulator(theta, rng):
        if theta["_$x$y"] > 0.9:
            raise ValueError("<script>alert(1)</script> & co")
        return {"<u>": np.full(30, theta["<b>&g$"]) + rng.normal(size=30), "s": np.ones(2)}

    study = ik.Study(simulator, prior, path=tmp_path / "run", quiet=True,
                     executor=ik.executor("local", workers=0),
                     observed={"<u>": np.zeros(30), "s": np.ones(2)})
    study.simulate(400)

    class Flat:
        def sample(self, n, x, rng):
            return np.column_stack([rng.normal(0, 0.3, n), rng.random(n)])

    html, _ = written(tmp_path, *studies.check(studies.with_engine(study, Flat())))
    for bad in ("<script", "<b>&g", "<i>&", "<u>"):
        assert bad not in html
    assert "&lt;script&gt;alert(1)" in html and "&lt;b&gt;&amp;g$" in html


def test_ragged_outputs_and_matrices(tmp_path):
    def simulator(theta, rng):
        spikes = np.sort(rng.uniform(0, 100, rng.poisson(theta["rate"])))
        return {"spikes": ik.Ragged.from_rows([spikes])[0], "bold": rng.normal(size=(3, 40))}

    class Sim:
        parameters = None
        outputs = (ik.Output("spikes", None, unit="ms"),
                   ik.Output("bold", (3, 40), dims=("node", "time"), unit="a.u."))

        def simulate(self, theta, seeds):
            rows = [simulator({"rate": r}, np.random.default_rng(int(s)))
                    for r, s in zip(theta["rate"], seeds)]
            return {"spikes": ik.Ragged.from_rows([r["spikes"] for r in rows]),
                    "bold": np.stack([r["bold"] for r in rows])}

    study = ik.Study(Sim(), ik.Prior({"rate": ik.Uniform(1, 30, unit="Hz")}), path=tmp_path / "run",
                     quiet=True, executor=ik.executor("local", workers=0),
                     observed={"spikes": np.array([10.0, 50.0]), "bold": np.zeros((3, 40))})
    study.simulate(300)

    class Flat:
        def sample(self, n, x, rng):
            return rng.uniform(1, 10, (n, 1))

    html, page = written(tmp_path, *studies.check(studies.with_engine(study, Flat())))
    assert any("spikes" in label for label in page.labels)
    assert any("bold" in label for label in page.labels) and "bold[2] (a.u.)" in html


def test_a_posterior_where_every_simulation_fails(tmp_path):
    def simulator(theta, rng):
        if theta["a"] > 0.5:
            raise ValueError("too large")
        return {"x": theta["a"] + rng.normal(size=3)}

    study = ik.Study(simulator, ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "run", quiet=True,
                     executor=ik.executor("local", workers=0), observed={"x": np.ones(3)})
    study.simulate(400)

    class High:
        def sample(self, n, x, rng):
            return rng.uniform(0.9, 1.0, (n, 1))

    context, checks = studies.check(studies.with_engine(study, High()))
    assert checks["predictive"].status == "FAIL" and checks["failures"].status == "FAIL"
    html, _ = written(tmp_path, context, checks)
    assert "Every simulation of a posterior draw failed." in html and "too large" in html


def test_sections_of_plugins_come_in_and_their_faults_stay_out(tmp_path, gaussian):
    class Good:
        @ik.hookimpl
        def inferkit_report_sections(self, context):
            fig, axes = style.grid(1, 1, 3, 2)
            axes[0, 0].plot([0, 1])
            return [report.Section("Mine", report.text("a < b") + report.figure(fig, "a line")),
                    report.Section("Remote", '<img src="https://example.org/x.png">')]

    class Bad:
        @ik.hookimpl
        def inferkit_report_sections(self, context):
            raise ZeroDivisionError("oh <no>")

    manager = plugins.registry().manager
    added = [manager.register(p(), name=p.__name__) for p in (Good, Bad)]
    try:
        html, page = written(tmp_path, *gaussian)
    finally:
        for name in added:
            manager.unregister(name=name)
    assert "Mine" in page.titles and "a &lt; b" in html and "Plugin Bad" in page.titles
    assert "oh &lt;no&gt;" in html and "example.org" not in html
    assert page.titles[-2:] == ["Timings", "Provenance"]


def test_a_section_that_breaks_is_a_note(tmp_path, gaussian, monkeypatch):
    def broken(context, checks):
        raise RuntimeError("no such thing")

    monkeypatch.setitem(report.SECTIONS, "Training", (broken, set()))
    html = report.write(tmp_path / "r.html", *gaussian).read_text()
    assert "could not be made: RuntimeError: no such thing" in html


def test_nothing_of_the_environment_gets_in(tmp_path, gaussian, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2-and-more")
    html, _ = written(tmp_path, *gaussian)
    assert "hunter2" not in html
    from inferkit.report.provenance import _masked

    assert _masked({"a": [{"api_key": "x", "b": 1}]}) == {"a": [{"api_key": "***", "b": 1}]}


def test_without_any_check_there_is_still_a_page(tmp_path, gaussian):
    html, _ = written(tmp_path, gaussian[0], diagnose.Checks([]))
    assert "Nothing was checked" in html


def test_tables_escape_and_format():
    html = section.table(["<h>", "n"], [["<x>", 1234567], ["y", 0.123456], ["z", float("nan")]])
    assert "&lt;x&gt;" in html and "1,234,567" in html and "0.1235" in html and "–" in html


PROBE = """<script>addEventListener("load",function(){
document.body.dataset.pictures=Array.from(document.querySelectorAll("figure svg")).filter(
function(s){return s.getBoundingClientRect().width}).map(function(s){
var b=s.getBoundingClientRect();return Math.round(b.width)+"x"+Math.round(b.height)
+":"+s.getBBox().width.toFixed(0)}).join(" ");
document.body.dataset.images=document.querySelectorAll("svg image").length;
document.body.dataset.overflow=document.documentElement.scrollWidth-document.documentElement.clientWidth;
document.body.dataset.scrolled=Array.from(document.querySelectorAll(".wide,.picture")).filter(
function(s){return s.scrollWidth>s.clientWidth+1}).length;
document.body.dataset.sections=document.querySelectorAll("section h2").length;});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
@pytest.mark.parametrize("width", [500, 1400])
def test_a_real_browser_shows_it(tmp_path, gaussian, width):
    html, page = written(tmp_path, *gaussian)
    probed = tmp_path / "probed.html"
    probed.write_text(html.replace("</body>", PROBE + "</body>"), "utf-8")
    picture = Path(os.environ.get("INFERKIT_SCREENSHOTS", tmp_path)) / f"report-{width}.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}",
             f"--window-size={width},4000"]
    subprocess.run([CHROMIUM, *flags, f"--screenshot={picture}", f"file://{probed}"], check=True,
                   capture_output=True, timeout=120)
    done = subprocess.run([CHROMIUM, *flags, "--dump-dom", f"file://{probed}"], check=True,
                          capture_output=True, text=True, timeout=120)
    data = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout[done.stdout.index("<body"):][:2000]))
    sizes = data["pictures"].split()
    assert len(sizes) == html.count("<figure>")
    for told in sizes:
        size, _, box = told.partition(":")
        assert all(int(v) > 100 for v in size.split("x")) and int(box) > 100, told
    assert int(data["sections"]) == len(report.SECTIONS) - 1  # it has no arrays
    assert int(data["overflow"]) <= 0, "the page scrolls sideways"
    assert int(data["scrolled"]) == 0, "something on the page scrolls sideways"
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[1] == width and pixels.std() > 0.05
