"""Whether an estimator fits a study at all: refused before anything runs, with those that would."""

from __future__ import annotations

from collections.abc import Set

from inferkit import plugins
from inferkit.errors import EstimatorError
from inferkit.features import View
from inferkit.plugins import EstimatorSpec, SimulatorSpec


def check_pairing(estimator: EstimatorSpec, simulator: SimulatorSpec, view: View, *,
                  observed: bool, log_likelihood: bool, trials: bool = False,
                  has: Set[str] = frozenset({"simulator", "parameters"})) -> None:
    """Refuse, before anything runs, an estimator that cannot work with this study."""
    wants = set(estimator.consumes)
    lacks = []
    if wants & {"simulations", "simulator"} and has < {"simulator", "parameters"}:
        lacks.append("a simulator and a prior")
    elif wants != {"observations"} and "parameters" not in has:
        lacks.append("a prior of the parameters")
    if "gradient" in wants and not (simulator.differentiable or log_likelihood):
        lacks.append(f"a differentiable simulator ({simulator.name!r} is not one) "
                     "or a log-likelihood of yours")
    if "log_likelihood" in wants and not log_likelihood:
        lacks.append("a log-likelihood")
    if "observations" in wants and not observed:
        lacks.append("observations")
    if estimator.needs_observed and not observed:
        lacks.append("the observation, since it learns the posterior of that one alone")
    if lacks:
        unseen = estimator.needs_observed and not observed
        raise EstimatorError(
            f"estimator {estimator.name!r} needs {'; '.join(lacks)}",
            allowed="with this study: " + ", ".join(_usable(simulator, observed, log_likelihood, has)),
            fix='observed = "data.npz" in the study file, or study.fit(observed=…)' if unseen else None)
    summarised = view.over_trials  # or an error, where features do not go together
    combines = estimator.iid or (estimator.sets and view.trials) or wants == {"observations"}
    if trials and not (combines or summarised):
        able = [s for s in plugins.registry().all("estimator")
                if s.iid or s.sets and view.trials]  # type: ignore[attr-defined]
        raise EstimatorError(
            f"estimator {estimator.name!r} does not combine several trials of one observation",
            allowed=", ".join(s.name for s in able) or "none that is installed",
            fix='features = ["trial_stats"], which summarise them' if view.trials
            else "ik.Study(trials=…)" if estimator.sets else None)
    ragged = [o.name for o in view.outputs.values() if o.shape is None]
    if view.raw and ragged and (trials or "ragged" not in estimator.accepts) and "simulations" in wants:
        raise EstimatorError(
            f"estimator {estimator.name!r} cannot take ragged outputs ({', '.join(ragged)})",
            allowed=", ".join(estimator.accepts), fix='features = ["spike_count", "isi"]')


def _usable(simulator: SimulatorSpec, observed: bool, log_likelihood: bool, has: Set[str]
            ) -> list[str]:
    names = []
    for spec in plugins.registry().all("estimator"):
        wants = set(spec.consumes)  # type: ignore[attr-defined]
        if wants & {"simulations", "simulator"} and has < {"simulator", "parameters"}:
            continue
        if wants != {"observations"} and "parameters" not in has:
            continue
        if "gradient" in wants and not (simulator.differentiable or log_likelihood):
            continue
        if "log_likelihood" in wants and not log_likelihood:
            continue
        if (spec.needs_observed or "observations" in wants) and not observed:  # type: ignore
            continue
        names.append(spec.name)
    return names or ["none that is installed"]
