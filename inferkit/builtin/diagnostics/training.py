"""Training: did the estimator's own computation converge?

What it says is in `posterior.info`, under keys that any estimator may fill:

    loss, validation_loss    one value an epoch
    generations              ABC-SMC: tolerance, acceptance, ess of each
    rhat, ess, divergences   MCMC: a number, or one for each parameter
    steps                    of each chain, where chains are many and short
    khat                     of importance weights between an approximation and its target
    exact                    why nothing had to converge ("closed form")
    beyond                   share of rows with inputs beyond the range where they are taken as they are
    e_bfmi                   HMC: how well momentum draws carry through the energies

A loss is *still falling* if its last fifth improves on the fifth before by more than 2 % of the
whole improvement.  It *overfits* if validation ends above its minimum by more than 10 % of its
improvement (an estimator that keeps its best epoch says so with info["best_epoch"], and is not
warned).  R-hat should be under 1.01 and not over 1.05; ESS over 400; divergences 0 (Vehtari et al.
2021; chains of few steps are allowed 4/steps more); a Pareto k not over 0.7 (Vehtari et al. 2024);
E-BFMI not under 0.3 (Betancourt 2016).  An ABC-SMC population's effective size should be 100 or
more (a sd is then known to 7 %), not under 25, and its last generation should not have moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from inferkit.diagnose import ORDER, Context, Status, Verdict, common
from inferkit.features.scaling import BEND

Found = tuple[Status, str, str]  # status, evidence, remedy


def check(info: Mapping[str, Any]) -> Verdict:
    """The verdict on what an estimator says of its computation."""
    if "exact" in info:
        return Verdict("training", "PASS", f"nothing had to converge: {info['exact']}")
    found = [*_losses(info), *_generations(info), *_chains(info)]
    rests = "what the estimator recorded while it worked"
    if not found:
        return common.not_run("training", "the estimator records nothing about its convergence")
    if (share := info.get("beyond", 0.0)) > 0.01:
        found.append(("PASS", f"{share:.0%} of simulations have inputs beyond {BEND:g} deviations, "
                      "where they count by their logarithm", ""))
    found.sort(key=lambda f: ORDER.index(f[0]))
    remedies = dict.fromkeys(f[2] for f in found if f[2])
    return Verdict("training", found[0][0], "; ".join(f[1] for f in found), "; ".join(remedies),
                   rests, _numbers(info))


def _losses(info: Mapping[str, Any]) -> Iterator[Found]:
    held, train = _series(info.get("validation_loss")), _series(info.get("loss"))
    judged = held if len(held) else train
    if not len(judged):
        return
    name = "validation loss" if len(held) else "loss"
    if not np.isfinite(judged[-1]):
        yield ("FAIL", f"the {name} ended as {judged[-1]}",
               "a smaller learning rate; look for huge or NaN inputs")
        return
    n = len(judged)
    told = f"{name} {judged[0]:.3g} → {judged[-1]:.3g} over {n} epochs"
    if n < 10:
        yield "PASS", told + " (too few to judge a trend)", ""
        return
    fifth = n // 5
    gain = float(np.nanmax(judged[: max(1, fifth)]) - np.nanmin(judged))
    falling = float(np.median(judged[-2 * fifth : -fifth]) - np.median(judged[-fifth:]))
    best = int(np.nanargmin(judged))
    overfit = (len(held) and gain > 0 and "best_epoch" not in info
               and np.median(judged[-fifth:]) - judged[best] > 0.1 * gain and best < n - fifth)
    if gain <= 0:
        yield ("FAIL", told + ": it never improved",
               "a smaller learning rate, scaled inputs, or more simulations")
    elif falling > 0.02 * gain:
        yield "WARN", told + " and was still falling", "train longer (more epochs, more patience)"
    elif overfit:
        yield ("WARN", told + f", its best at epoch {best + 1}: it overfits",
               "more simulations, stop earlier, or a smaller network")
    else:
        yield "PASS", told + ", level at the end", ""


def _generations(info: Mapping[str, Any]) -> Iterator[Found]:
    told = [g for g in info.get("generations") or [] if isinstance(g, Mapping)]
    if not told:
        return
    first, last = told[0], told[-1]
    text = f"{len(told)} generations"
    if first.get("tolerance") and "tolerance" in last:
        text += f", tolerance {first['tolerance']:.3g} → {last['tolerance']:.3g}"
    if "acceptance" in last:
        text += f", {last['acceptance']:.1%} accepted in the last"
    ess = info.get("effective_size", last.get("ess"))
    if ess is not None:
        text += f", effective size {ess:.0f} (widths to ±{1 / np.sqrt(2 * max(ess, 0.5)):.0%})"
    shift, narrowed = info.get("shift", 0.0), info.get("narrowed", 0.0)
    if ess is not None and ess < 100:
        yield ("FAIL" if ess < 25 else "WARN", text + ": a few heavy draws stand for the posterior, "
               "whose widths may come out too small", "a larger population (1000 or more, 100 for each "
               "parameter), or a quantile nearer to 1")
    elif len(told) > 1 and last.get("tolerance", 0.0) > 0.5 * first.get("tolerance", np.inf):
        yield ("WARN", text + ": the tolerance hardly fell",
               "more generations or simulations, or fewer and more informative features")
    elif shift > 0.3 or narrowed > 0.25:
        by = (f"a mean by {shift:.1f} sd" if shift > 0.3 else
              f"a width by {np.expm1(narrowed):.0%}")
        yield ("WARN", text + f": its last generation still moved {by}, beyond chance",
               "more of what ended it: " + str(info.get("stopped", "generations")))
    else:
        yield "PASS", text, ""


def _chains(info: Mapping[str, Any]) -> Iterator[Found]:
    rhat, ess = _worst(info.get("rhat"), max), _worst(info.get("ess"), min)
    if rhat is not None:
        short = 4 / info.get("steps", np.inf)  # halves of few steps differ by chance
        status: Status = ("FAIL" if not rhat[1] <= 1.05 + 2 * short
                          else "WARN" if rhat[1] > 1.01 + short else "PASS")
        yield (status, f"R-hat at most {rhat[1]:.3f}{rhat[0]}",
               "" if status == "PASS" else "run the chains longer, from several starts; "
               "chains that stay apart mean several modes")
    if ess is not None:
        status = "FAIL" if not ess[1] >= 100 else "WARN" if ess[1] < 400 else "PASS"
        yield (status, f"effective sample size at least {ess[1]:.0f}{ess[0]}",
               "" if status == "PASS" else "draw more samples")
    if "khat" in info:
        khat = float(info["khat"])
        status = "FAIL" if not khat <= 1.0 else "WARN" if khat > 0.7 else "PASS"
        yield (status, f"Pareto k of the importance weights {khat:.2f}",
               "" if status == "PASS" else "the approximation misses part of its target: a more "
               "flexible one, more iterations, or MCMC")
    found = info.get("divergences")
    if found is not None:
        count = int(np.sum(list(found.values()) if isinstance(found, Mapping) else found))
        yield ("WARN" if count else "PASS", f"{count} divergent transitions",
               "raise the target acceptance (0.95), or reparametrise" if count else "")
    bfmi = _worst(info.get("e_bfmi"), min)
    if bfmi is not None:
        low = not bfmi[1] >= 0.3
        yield ("WARN" if low else "PASS", f"E-BFMI {bfmi[1]:.2f}",
               "heavy tails: reparametrise, or a longer warm-up" if low else "")


def _worst(told: Any, pick: Any) -> tuple[str, float] | None:
    """(" (name)", value) of the worst of a number, a list or a dict; None where there is none."""
    if told is None:
        return None
    if isinstance(told, Mapping):
        flat = {k: float(pick(np.ravel(v))) for k, v in told.items() if np.size(v)}
        if not flat:
            return None
        name = next((k for k, v in flat.items() if np.isnan(v)), pick(flat, key=lambda k: flat[k]))
        return f" ({name})", flat[name]
    values = np.ravel(np.asarray(told, dtype=float))
    return ("", float(pick(values))) if len(values) else None


def _series(told: Any) -> np.ndarray:
    try:
        return np.ravel(np.asarray([] if told is None else told, dtype=float))
    except (TypeError, ValueError):
        return np.empty(0)


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(info[k]) for k in ("seconds", "rows", "simulations")
            if isinstance(info.get(k), (int, float))}


class Training:
    """Convergence of the fit, from what the estimator recorded."""

    def run(self, context: Context) -> Iterator[Verdict]:
        if hasattr(context.posterior.engine, "sampled"):
            _ = context.samples  # how the sampling for the observation went is told by it
        yield check(context.posterior.info)
