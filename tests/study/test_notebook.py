"""What a notebook shows: small escaped tables, live progress, short errors."""

import io
import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest

import inferkit as ik
from inferkit import progress
from inferkit.errors import ConfigError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = ik.Study(lambda t, rng: t["<b>a"] + rng.normal(0, 0.1, 2),
                    ik.Prior({"<b>a": ik.Uniform(0, 1, unit="<i>"), "c": ik.Normal(0, 1)}),
                    path=tmp_path_factory.mktemp("r") / "run", quiet=True,
                    observed=np.array([0.5, 0.5]), executor=ik.executor("local", workers=0))
    made.simulate(300)
    made.fit()
    return made


class Cells(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("thing, told", [
    (lambda s: s, ["abc-rejection", "300 ok", "<b>a, c"]),
    (lambda s: s.prior, ["<b>a", "<i>", "Uniform"]),
    (lambda s: s.posterior, ["abc-rejection", "270 simulations"]),
    (lambda s: s.posterior.sample(50), ["50 draws", "<b>a", "median"]),
    (lambda s: s.posterior.sample(50, np.full((7, 2), 0.5)), ["7 observations", "2 more observations"]),
    (lambda s: s.check(), ["overall: ", "sbc", "coverage"]),
    (lambda s: s.simulations, ["300 simulations", "float64", "ok"]),
    (lambda s: s.posterior.predict(20), ["20 simulations", "(20, 2)"]),
], ids=["study", "prior", "posterior", "samples", "several", "checks", "simulations", "predicted"])
def test_things_are_small_escaped_tables(study, thing, told):
    html = thing(study)._repr_html_()
    cells = Cells(html)
    words = " ".join(cells.words)
    assert all(t in words for t in told), words
    assert not {"script", "style", "i"} & set(cells.tags) and "<b>a" not in html
    opened = sorted(t for t in cells.tags if t[0] != "/")
    assert opened == sorted(t[1:] for t in cells.tags if t[0] == "/")
    assert "e-1" not in words, "a mean of nothing is 0"
    assert cells.tags.count("tr") >= 2 and len(html) < 10_000


def test_looking_at_a_study_makes_nothing(tmp_path):
    made = ik.Study(lambda t, rng: t["a"], ik.Prior({"a": ik.Uniform(0, 1)}), path=tmp_path / "new")
    assert "none yet" in made._repr_html_() and repr(made).startswith("Study")
    assert not (tmp_path / "new").exists()


def test_an_error_is_its_message_and_the_readers_line():
    InteractiveShell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    shell = InteractiveShell.instance()
    told = []
    shell._showtraceback = lambda kind, value, lines: told.extend(lines)
    shell.run_cell("import inferkit as ik\nprior = ik.Prior({'a': ik.Uniform(2, 1)})")
    text = "\n".join(told)
    assert "PriorError" in text and "line 2:  prior = ik.Prior({'a': ik.Uniform(2, 1)})" in text
    assert len(told) < 8 and "inferkit/prior" not in text


def test_the_cause_is_named_and_the_whole_is_to_be_had(monkeypatch):
    try:
        try:
            raise ZeroDivisionError("by hand")
        except ZeroDivisionError as cause:
            raise ConfigError("no", fix="yes") from cause
    except ConfigError as error:
        short = "\n".join(error._render_traceback_())
        monkeypatch.setenv("INFERKIT_TRACEBACK", "1")
        whole = "\n".join(error._render_traceback_())
    assert short.startswith("ConfigError: no\n  try:     yes\n")
    assert "ZeroDivisionError: by hand" in short
    assert "Traceback (most recent call last)" in whole and "Traceback" not in short


class Display:
    """A kernel's display: what was shown, and how often it was updated."""

    def __init__(self):
        self.made, self.updates = [], []

    def __call__(self, thing, display_id):
        self.made.append(thing._repr_html_())
        return self

    def update(self, thing):
        self.updates.append(thing._repr_html_())


@pytest.fixture
def kernel(monkeypatch):
    shown = Display()
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = shown
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return shown


def test_a_notebook_gets_one_bar_for_each_run(kernel, capsys):
    say = progress.Reporter()
    p = progress.Progress(0, 200, 0)
    for done in (50, 100, 200):
        p.done, p.finished, say._last = done, done == 200, 0.0
        say(p)
    assert len(kernel.made) == 1 and 'value="0.250"' in kernel.made[0]
    assert 'value="1.000"' in kernel.updates[-1] and "200 of 200" in kernel.updates[-1]
    say.say("<b>fitted")
    assert kernel.made[1] == "<div>&lt;b&gt;fitted</div>"
    assert progress.Reporter(quiet=True).display is None
    assert capsys.readouterr().err == ""


def test_ipython_without_a_kernel_is_a_terminal(kernel):
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()
    assert progress.notebook() is None


def test_a_terminal_gets_a_line_that_fits_and_a_log_plain_ones(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "60")
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        say = progress.Reporter(stream=stream)
        p = progress.Progress(0, 200, 0)
        p.done, p.counts = 100, progress.Counter({"ok": 50, "error": 50})
        say(p)
        p.done, p.finished, say._last = 200, True, 0.0
        say(p)
    first, last = terminal.getvalue().split("\r")[1:]
    assert first.startswith("[##########----------] simulations: 100 of 200") and len(first) == 59
    assert last.startswith("simulations: 200 of 200") and last.endswith("\n")
    assert log.getvalue().count("\n") == 1 and "#" not in log.getvalue()
