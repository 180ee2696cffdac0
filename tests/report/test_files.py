"""Pictures and tables as files, on request."""

import csv
import io

import numpy as np
import pytest
from matplotlib import image

import inferkit as ik
from inferkit import plugins, report
from inferkit.commands.cli import main
from inferkit.report import files, style
from tests.diagnose import studies


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return studies.gaussian(tmp_path_factory.mktemp("run"), dim=2, info={"loss": [3.0, 2.0]})


class Plugin:
    @ik.hookimpl
    def inferkit_report_sections(self, context):
        fig, axes = style.grid(1, 1, 3, 2)
        axes[0, 0].plot([0, 1])
        return [report.Section("Mine", report.figure(fig, "a line"))]


def test_every_picture_of_the_report_and_its_tables(study, tmp_path):
    context, checks = studies.check(study)
    manager = plugins.registry().manager
    name = manager.register(Plugin(), name="mine")
    try:
        page = report.write(tmp_path / "r.html", context, checks, figures=True).read_text()
    finally:
        manager.unregister(name=name)
    there = {f.name for f in (tmp_path / "r_files").iterdir()}
    stems = {f[:-4] for f in there if f.endswith(".pdf")}
    assert {"posterior", "calibration", "calibration-2", "prior-predictive", "training"} <= stems
    assert "mine" in stems, "a plugin's picture too"
    assert len(stems) == page.count("<figure>")
    assert there == {f"{s}.{k}" for s in stems for k in ("pdf", "png")} | {
        f"{n}.{k}" for n in ("parameters", "checks") for k in ("csv", "tex")}
    pixels = image.imread(tmp_path / "r_files" / "posterior.png")
    assert pixels.shape[1] > 1000 and pixels[0, 0, :3].min() == 1.0 and pixels.std() > 0.05
    rows = list(csv.DictReader((tmp_path / "r_files" / "parameters.csv").open()))
    assert [r["name"] for r in rows] == list(context.prior.names)
    for j, r in enumerate(rows):
        assert float(r["mean"]) == pytest.approx(context.samples.values[:, j].mean())
        assert float(r["truth"]) == pytest.approx(context.truth[j]) and "Normal" in r["prior"]
    told = {r["check"]: r["verdict"] for r in csv.DictReader(
        (tmp_path / "r_files" / "checks.csv").open())}
    assert told == {v.name: v.status for v in checks}


def test_nothing_more_without_asking(study, tmp_path):
    report.write(tmp_path / "r.html", *studies.check(study))
    assert {f.name for f in tmp_path.iterdir()} == {"r.html", "r.bib"}


def test_latex_is_escaped_and_counts_its_columns():
    text = files.as_latex([{"a_b": "50 % of $x$ & ±", "n": 1.25}, {"a_b": "y", "n": np.nan}])
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{lr}" and lines[3] == r"a\_b & n \\"
    assert lines[5] == r"50 \% of \$x\$ \& $\pm$ & $1.25$ \\"
    assert all(line.replace(r"\&", "").count("&") == 1 for line in (lines[3], lines[5], lines[6]))
    again = list(csv.reader(io.StringIO(files.as_csv([{"a": 'x, "y"', "b": 0.1}]))))
    assert again == [["a", "b"], ['x, "y"', "0.1"]]


def test_the_command_line_asks_for_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("""
path = "runs/g"
simulations = 300
observed = {theta = {theta = [0.1, 0.2]}, seed = 1}
simulator = {name = "gaussian_linear", dim = 2}
executor = {name = "local", workers = 0}
[prior]
theta = {family = "normal", loc = 0.0, scale = 1.0, shape = [2]}
""")
    assert main(["run", "study.toml"]) in (0, 1)
    assert main(["report", "runs/g", "--figures"]) == 0
    assert "runs/g/report_files" in capsys.readouterr().out
    assert (tmp_path / "runs/g/report_files/posterior.pdf").read_bytes().startswith(b"%PDF")
