"""How near a fit is to the truth, where a simulator tells it.

Latents are compared after the best affine map of each region (the model knows them up to that), states
after the best relabelling, messages after the target's map, centred in each true state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from inferkit.errors import DataError
from inferkit_mrsds.data import Trials

if TYPE_CHECKING:
    from inferkit_mrsds.engine import Engine


def match(reference: np.ndarray, states: np.ndarray, K: int) -> np.ndarray:
    """order[k] = the reference's name of state k: the relabelling that agrees in most bins.

    Both (trial, time), negative where there is no bin.
    """
    live = (reference >= 0) & (states >= 0)
    n = max(K, int(reference.max()) + 1)
    agree = np.zeros((n, n))
    np.add.at(agree, (states[live].astype(int), reference[live].astype(int)), 1)
    rows, cols = linear_sum_assignment(-agree)
    return cols[np.argsort(rows)]


def agreement(best: Engine, engines: list[Engine]) -> list[dict[str, Any]]:
    """How each other fit compares with the best, on the held-out trials.

    states: share of bins in which they agree, relabelled.  messages: the mean correlation of centred
    messages, after mapping latents affinely onto the best's, weighted by the best's message power.
    """
    t = best.held_out
    mask = t.mask
    path, x, mine = best.viterbi(t), best.latents(t)[mask], best.messages(t)
    live = np.isfinite(mine.centred[..., 0, 0, 0])
    found = []
    for other in engines:
        if other is best:
            continue
        their = other.viterbi(t)
        named = np.where(mask, match(path, their, best.c.K)[their], -1)
        told: dict[str, Any] = {"elbo": float(-min(other.info["validation_loss"])),
                                "states": float((named == path)[mask].mean())}
        R = mine.share.shape[0]
        if R > 1:
            theirs, total, weight = other.messages(t).centred[live], 0.0, 0.0
            y = other.latents(t)[mask]
            for i in range(R):
                W = affine(y[:, i], x[:, i])[0][:-1]
                for j in range(R):
                    if i != j:
                        a, b = mine.centred[live][:, i, j], theirs[:, i, j] @ W
                        power = float((a**2).sum())
                        r = float((a * b).sum() / np.sqrt(power * (b**2).sum() + 1e-300))
                        total, weight = total + power * r, weight + power
            told["messages"] = total / weight if weight else float("nan")
        found.append(told)
    return found


def affine(x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares map (d + 1, d) of x to target, and R^2 of each component."""
    design = np.column_stack([x, np.ones(len(x))])
    W = np.linalg.lstsq(design, target, rcond=None)[0]
    rest = ((target - design @ W) ** 2).sum(0)
    return W, 1 - rest / ((target - target.mean(0)) ** 2).sum(0)


def activity_r2(y: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """About each neuron's mean: pooled over neurons, and the median neuron's.  Both (bins, neurons)."""
    rest, total = ((y - guess) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    return {"pooled": float(1 - rest.sum() / total.sum()), "median": float(np.median(1 - rest / total))}


def recovery(engine: Engine, x: Any = None) -> dict[str, Any]:
    """R^2 of activity and latents, accuracy of states, correlation of messages with the truth.

    messages: (target, source, state, component) -> correlation and ratio of sd, where the true message
    varies.  message_share: ours and the true one.
    """
    t: Trials = engine.held_out if x is None else engine.trials(x)
    if "xs" not in t.truth:
        raise DataError(
            "the data hold no truth", allowed="xs (and zs, messages) beside ys, from a simulator"
        )
    mask = t.mask
    latents, path = engine.latents(t), engine.viterbi(t)
    R, d = latents.shape[2:]
    found: dict[str, Any] = {"y_r2": activity_r2(t.y[mask], engine.activity(t)[mask])}
    xs = t.truth["xs"].reshape(*mask.shape, R, d)
    maps, r2 = zip(*(affine(latents[mask][:, r], xs[mask][:, r]) for r in range(R)))
    found["x_r2"] = [list(map(float, v)) for v in r2]
    zs = t.truth.get("zs", np.zeros(mask.shape))
    truth = np.where(mask, np.nan_to_num(zs), -1).astype(int)
    order = match(truth, path, engine.c.K)
    named = np.where(mask, order[path], -1)
    found["state_accuracy"] = float((named == truth)[mask].mean())
    found["majority"] = float(np.bincount(truth[mask]).max() / mask.sum())
    if "messages" in t.truth and engine.model.generative.dynamics.R == R:
        found |= _messages(engine, t, truth, order, maps)
    return found


def _messages(engine: Engine, t: Trials, truth: np.ndarray, order: np.ndarray, maps: Any) -> dict:
    ours = engine.messages(t)
    real = t.truth["messages"]
    R = real.shape[2]
    live = t.mask.copy()
    live[:, 0] = False
    rows, power = {}, np.zeros((2, R, R))
    scale = t.truth["xs"][t.mask].reshape(-1, R, real.shape[-1]).std(0) + 1e-12
    for i in range(R):
        for j in range(R):
            if i == j:
                continue
            for k in range(len(ours.by_state)):
                there = live & (truth == order[k])
                if there.sum() < 10:
                    continue
                a = ours.by_state[k][there][:, i, j] @ maps[i][:-1]
                b = real[there][:, i, j]
                a, b = a - a.mean(0), b - b.mean(0)
                power[:, i, j] += [((v / scale[i]) ** 2).sum() for v in (a, b)]
                for component in range(b.shape[1]):
                    if b[:, component].std() > 1e-3 * scale[i, component]:
                        rows[f"{i}<{j} state {order[k]} component {component}"] = (
                            float(np.corrcoef(a[:, component], b[:, component])[0, 1]),
                            float(a[:, component].std() / b[:, component].std()))
    total = power.sum((1, 2), keepdims=True)
    share = power / np.where(total > 0, total, 1)
    return {"messages": rows, "message_share": share[0].tolist(), "true_share": share[1].tolist(),
            "told_apart": ours.told_apart.tolist()}
