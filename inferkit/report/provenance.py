"""What the run was made with, and how long it took.  Nothing is read from the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit import provenance
from inferkit.diagnose import Checks, Context
from inferkit.errors import InferkitError
from inferkit.progress import duration, rate
from inferkit.report.section import escape, note, table

LATEST = 12


def timings(context: Context, checks: Checks) -> str:
    events = [e for e in provenance.events(context.study.path) if e.get("event") in ("simulate", "fit")]
    if not events:
        return note("This run folder records no sessions.")
    rows = []
    for e in events[-LATEST:]:
        seconds = float(e.get("seconds") or 0.0)
        what = "new simulations"
        if e["event"] == "fit":
            told = e.get("estimator")
            what = f"fit of {told.get('name', told) if isinstance(told, dict) else told}"
            rows.append([e.get("time", ""), what, "", duration(seconds), ""])
            continue
        new = int(e.get("new") or 0)
        pace = rate(new / seconds) if seconds > 0 and new else ""
        rows.append([e.get("time", ""), what, new, duration(seconds), pace])
    head = ["when", "what", "rows", "took", "rate"]
    more = note(f"The latest {LATEST} of {len(events)} sessions.") if len(events) > LATEST else ""
    return table(head, rows) + _per_simulation(context) + more


def _per_simulation(context: Context) -> str:
    table_ = context.study.simulations
    seconds = np.asarray(table_.seconds, dtype=float) if len(table_) else np.empty(0)
    seconds = seconds[np.isfinite(seconds)]
    if not len(seconds):
        return ""
    return note(f"One simulation takes {duration(float(np.median(seconds)))} (median) to "
                f"{duration(float(seconds.max()))} (longest).")


def section(context: Context, checks: Checks) -> str:
    study, info = context.study, context.posterior.info
    events = provenance.events(study.path)
    latest: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for e in events:
        latest.update({k: e[k] for k in ("python", "machine", "git", "command") if k in e})
        versions |= e.get("versions") or {}
    machine, git = latest.get("machine") or {}, latest.get("git")
    stored = len(study.simulations)
    rows = [
        ["versions", ", ".join([f"Python {latest.get('python', '?')}"] + [
            f"{k} {v}" for k, v in versions.items()])],
        ["machine", ", ".join(str(v) for v in (
            machine.get("system"), machine.get("processor"),
            f"{machine['cores']} cores" if machine.get("cores") else None,
            f"{machine['memory_gb']} GB" if machine.get("memory_gb") else None) if v)],
        ["git", f"{git['commit'][:12]}{', with changes' * bool(git.get('changed'))}" if git
         else "not a repository"],
        ["command", " ".join(map(str, latest.get("command") or []))],
        ["seed", str(study.seed)],
        ["simulations", f"{stored:,} of the prior, {len(study.training):,} to learn from, "
                        f"{len(study.held_out):,} held out"],
        ["fit", f"{info.get('fit', '')}, from {info.get('rows', '?')} rows"],
        ["executor", study.executor.name],
        ["store", study.store.key],
    ]
    if events:
        rows.insert(0, ["last session", str(events[-1].get("time", ""))])
    config = {"simulator": _config(study.simulator), "prior": _config(study.prior),
              "features": _config(context.view), "estimator": _config(context.posterior.estimator)}
    body = escape(json.dumps(_masked(config), indent=1, default=str)[:40_000])
    return (f'<div class="prose">{table(["what", "value"], [r for r in rows if r[1]])}</div>'
            f"<details><summary>configuration</summary><pre>{body}</pre></details>")


def _config(thing: Any) -> Any:
    try:
        return thing.to_config()
    except (InferkitError, AttributeError):
        return repr(thing)


def _masked(value: Any) -> Any:
    """Plain data with the values of secret-looking keys hidden."""
    if isinstance(value, Mapping):
        return {k: "***" if provenance.SECRET.search(str(k)) else _masked(v)
                for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(v) for v in value]
    return value
