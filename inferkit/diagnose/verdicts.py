"""The diagnose stage: can this posterior be trusted, by what evidence, and what to do if not.

Every diagnostic is a plugin's record like all else.  It looks at a `Context` and gives `Verdict`s:
PASS, WARN, FAIL or NOT RUN.  One that cannot run says why, and one that breaks is NOT RUN with
its error: a check that did not happen is never a check that passed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inferkit import plugins, shown
from inferkit.diagnose.context import Context
from inferkit.errors import InferkitError, StoreError, unknown_name
from inferkit.plugins import Component
from inferkit.store import make_folder, write_atomic

Status = Literal["PASS", "WARN", "FAIL", "NOT RUN"]
ORDER: tuple[Status, ...] = ("FAIL", "WARN", "NOT RUN", "PASS")

CALIBRATING = ("sbc", "coverage", "tarp")


@dataclass
class Verdict:
    """What one diagnostic found.

    evidence: the numbers, in a sentence.  rests_on: what it was computed from ("200 simulations
    that no estimator has seen").  remedy: what to do about a WARN or FAIL.  curves: arrays for the
    report's pictures.
    """

    name: str
    status: Status
    evidence: str
    remedy: str = ""
    rests_on: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.status:<8} {self.name}: {self.evidence}"
        return text + (f"\n         {self.remedy}" if self.remedy and self.status != "PASS" else "")


@dataclass
class Checks:
    """All verdicts of one fit; `status` is the worst."""

    verdicts: list[Verdict]

    @property
    def status(self) -> Status:
        """FAIL if any failed, else WARN if any warned; NOT RUN only where nothing could run."""
        found = {v.status for v in self.verdicts}
        if "FAIL" in found or "WARN" in found:
            return "FAIL" if "FAIL" in found else "WARN"
        return "PASS" if "PASS" in found else "NOT RUN"

    def __iter__(self):
        return iter(self.verdicts)

    def __getitem__(self, name: str) -> Verdict:
        for v in self.verdicts:
            if v.name == name:
                return v
        raise unknown_name("check", name, [v.name for v in self.verdicts])

    @property
    def caveat(self) -> str:
        """What the overall status does not rest on."""
        calibrated = any(v.name in CALIBRATING and v.status != "NOT RUN" for v in self.verdicts)
        return "" if calibrated or self.status == "NOT RUN" else "but calibration was not checked"

    def __str__(self) -> str:
        overall = f"overall: {self.status} {self.caveat}".rstrip()
        return "\n".join([*map(str, self.verdicts), overall])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(v.status, v.name, v.evidence, v.remedy if v.status != "PASS" else "") for v in self]
        return shown.titled(f"overall: {self.status} {self.caveat}".rstrip(), shown.table(
            ["verdict", "check", "evidence", "what to do"], rows))

    def save(self, path: Path) -> None:
        make_folder(path.parent)
        told = [{**vars(v), "curves": {k: np.asarray(c).tolist() for k, c in v.curves.items()}}
                for v in self.verdicts]
        write_atomic(path, [json.dumps(told, default=float).encode()])

    @classmethod
    def load(cls, path: Path) -> Checks:
        try:
            told = json.loads(path.read_text())
            return cls([Verdict(**{**v, "curves": {k: np.asarray(c) for k, c in
                                                   v["curves"].items()}}) for v in told])
        except (OSError, ValueError, TypeError, KeyError) as cause:
            raise StoreError(f"{path} holds no checks: {cause}", fix="study.check()") from cause


def applies(spec: Any, context: Context) -> bool:
    """Whether a check says anything of such a fit; one that does not is left out, not NOT RUN."""
    if spec.estimators and context.posterior.estimator.name not in spec.estimators:
        return False
    return {"simulator", "parameters", "arrays", "densities"} & set(spec.needs) <= context.has


def _with_advice(verdict: Verdict, context: Context) -> Verdict:
    """What the estimator at hand can do better, beside what any could."""
    told = context.estimator.improve
    if told and verdict.remedy and verdict.name.partition(".")[0] in CALIBRATING:
        verdict.remedy += f"; with {context.estimator.name}: {told}"
    return verdict


def run(context: Context, only: list[str] | None = None) -> Checks:
    """Every registered diagnostic's verdicts, the worst first."""
    verdicts: list[Verdict] = []
    specs = plugins.registry().all("diagnostic")
    if only is not None:
        context.asked = frozenset(only)
        specs = [plugins.get("diagnostic", name) for name in only]
    for spec in specs:
        if not applies(spec, context):
            continue
        try:
            verdicts += [_with_advice(v, context) for v in Component(spec).build().run(context)]
        except InferkitError as cause:
            verdicts.append(Verdict(spec.name, "NOT RUN", cause.what, cause.fix or ""))
        except Exception as cause:
            verdicts.append(Verdict(spec.name, "NOT RUN",
                                    f"it broke: {type(cause).__name__}: {cause}",
                                    f"a defect of {spec.package}; please report it"))
    return Checks(sorted(verdicts, key=lambda v: ORDER.index(v.status)))
