"""A paragraph for a paper's methods, and the BibTeX entries of all that was used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from inferkit import plugins, provenance
from inferkit.diagnose import ORDER, Checks, Context
from inferkit.plugins import bibliography
from inferkit.report.overview import TITLES, feature_name, prior_texts
from inferkit.report.section import escape, note

OWN, LIBRARIES = "inferkit", ("harris2020numpy", "virtanen2020scipy")
MOST = 12


def section(context: Context, checks: Checks) -> str:
    paragraph = " ".join(sentences(context, checks))
    return (f'<p id="methods-text">{escape(paragraph)}</p>'
            + note("To copy into a paper. The references are in the .bib file beside this report; add "
                   "those of your own model and data.")
            + f"<details><summary>references</summary><pre>{escape(bibtex(context, checks))}</pre>"
            "</details>")


def bibtex(context: Context, checks: Checks) -> str:
    """Every entry once, in the order of use."""
    cites = [c for _, spec in used(context, checks) for c in spec.cites]
    return "\n\n".join(bibliography.entries([*cites, *LIBRARIES, OWN]).values()) + "\n"


def used(context: Context, checks: Checks) -> Iterator[tuple[str, Any]]:
    """(role, record) of each part: simulator, features, estimator, executor, and checks that ran."""
    study = context.study
    if "simulator" in study.has:
        yield "simulator", study.simulator.spec
    for _, feature in context.view.chosen:
        if hasattr(feature, "spec"):
            yield "feature", feature.spec
    yield "estimator", context.estimator
    if "simulator" in study.has:
        yield "executor", study.executor.spec
    ran = dict.fromkeys(v.name.partition(".")[0] for v in checks.verdicts if v.status != "NOT RUN")
    for spec in plugins.registry().all("diagnostic"):
        if spec.name in ran:
            yield "diagnostic", spec


def cited(spec: Any) -> str:
    """" (Talts et al. 2018; …)", or nothing."""
    found = [bibliography.short(e) for e in bibliography.entries(spec.cites).values()]
    return f" ({'; '.join(found)})" if found else ""


def sentences(context: Context, checks: Checks) -> Iterator[str]:
    study, info, view = context.study, context.posterior.info, context.view
    by_role: dict[str, list[Any]] = {}
    for role, spec in used(context, checks):
        by_role.setdefault(role, []).append(spec)
    estimator = context.estimator
    if "parameters" in context.has:
        model = study.simulator.spec
        yield (f"We inferred {_listed(context.prior.names)} of the simulator "
               f"{model.name}{cited(model)} with the estimator {estimator.name}{cited(estimator)}.")
        priors = [f"{n} ~ {t}{' ' + u if (u := context.prior.units.get(n, '')) else ''}"
                  for n, t in zip(context.prior.names, prior_texts(context)) if t]
        if priors:
            more = f" and {len(priors) - MOST} more" if len(priors) > MOST else ""
            yield f"Priors were {', '.join(priors[:MOST])}{more}."
    else:
        yield f"We fitted the model {estimator.name}{cited(estimator)} to the observations alone."
    if "simulator" in study.has and len(study.simulations):
        table = study.simulations
        bad = int((table.status != 0).sum())
        failed = f" ({bad:,} runs failed)" if bad else ""
        yield (f"The simulator ran {len(table):,} times with parameters drawn from the prior{failed}; "
               f"{len(study.held_out):,} of these were held out for checks and "
               f"{info.get('rows', len(study.training)):,} were available to the estimator.")
    features = [f"{s.name}{cited(s)}" for s in by_role.get("feature", [])]
    features += [f"{label or feature_name(f)} (our own function)" for label, f in view.chosen
                 if hasattr(f, "thing")]
    if "simulator" in study.has:
        yield (f"Data were summarised by {_listed(features)}." if features else
               "Its raw outputs were the data.")
    if context.trials:
        yield f"An observation was {context.trials} independent trials."
    if checks.verdicts:
        ran = [f"{_small(TITLES.get(s.name, (s.name,))[0])}{cited(s)}"
               for s in by_role.get("diagnostic", [])]
        found = Counter(v.status for v in checks.verdicts)
        told = ", ".join(f"{found[s]} {s}" for s in ORDER if found[s])
        if ran:
            yield f"The posterior was examined by {_listed(ran)}: {told}."
    where = [f"{s.name}{cited(s)}" for s in by_role.get("executor", []) if s.name != "local"]
    yield (f"Simulations ran on {where[0]}. " if where else "") + (
        f"All was computed with inferkit {provenance.version('inferkit')} on NumPy and SciPy "
        f"(Harris et al. 2020; Virtanen et al. 2020); the root seed was {study.seed}.")


def _small(title: str) -> str:
    return title[:1].lower() + title[1:]


def _listed(names: Any) -> str:
    names = [str(n) for n in names]
    names = names if len(names) <= MOST else [*names[: MOST - 1], f"{len(names) - MOST + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
