"""`inferkit demo unicore` brings its own site."""

import json

from inferkit.commands.cli import main


def test_the_demo_runs_jobs_at_its_own_site(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNICORE_SITES", raising=False)
    assert main(["demo", "unicore", "--simulations", "6000"]) == 0
    assert "overall:" in capsys.readouterr().out
    run = tmp_path / "runs/unicore"
    assert (run / "report.html").exists()
    events = [json.loads(line) for line in (run / "sessions.jsonl").read_text().splitlines()]
    assert {e["executor"] for e in events if e.get("executor")} == {"unicore"}
