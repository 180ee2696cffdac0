"""What all estimators here share: rounds of simulations, and networks trained on their rows.

    rows = stored simulations [+ rounds]  ->  columns (z, inputs …)  ->  an ensemble of networks
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit_sbi.density import load_arrays
from inferkit_sbi.rows import Columns, Fresh, Source, Stored, fill
from inferkit_sbi.train import STALL, Fit, History, Loss, device_of, race

BEGIN = 2000  # rows that a network begins from
LONGER = 4  # the patience where trials are learned from singly


@dataclass
class Counts:
    """Rows that were seen and rows that could be used."""

    seen: int = 0
    used: int = 0

    def info(self) -> dict:
        return {"simulations": self.used, "excluded": self.seen - self.used}


def counted(columns: Columns, counts: Counts, group: int) -> Columns:
    def counting(part: Training) -> list[np.ndarray]:
        made = columns(part)
        counts.seen += len(part)
        counts.used += len(made[0]) // group
        return made
    return counting


def ensemble(problem: Problem, config: Any, makes: Sequence[Callable[[], nn.Module]], loss: Loss,
             parts: Iterable[Training], columns: Columns, r: int, *, log_density: bool = False,
             stall: float = STALL, group: int = 1) -> tuple[list[nn.Module], dict]:
    """A network of round r for each of `makes`, and what to tell about their training.

    All learn from the same rows and are validated on the same.  `log_density`: minus the loss is a
    log-density, so the best mixture of the networks is found; otherwise they count alike.
    `group`: so many rows come from one simulation (its trials).  What is wrong with a row adds up over
    them, so training goes on for smaller gains, and waits for them longer.
    """
    trained = replace(config, patience=config.patience * (LONGER if group > 1 else 1))
    device, counts = device_of(config.device), Counts()
    table = fill(parts, counted(columns, counts, group), config.memory * 1e9, problem.folder, device)
    if not counts.used:
        raise EstimatorError("all simulations failed" if counts.seen else "there are no simulations",
                             fix="inferkit check study.toml")
    start = earlier(problem, config) if config.warm_start and r == 0 else None
    nets, fits = [], []
    split = int(problem.rng(r, 0).integers(2**31))
    source: Source = (Fresh(problem, table, columns, config, split, group) if config.online
                      else Stored(table, config, split, group))
    for k, make in enumerate(makes):
        seed = int(problem.rng(r, k).integers(2**31))
        torch.manual_seed(seed)
        net = make().to(device)
        if start is not None:
            load_arrays(net, start, k)
        elif hasattr(net, "begin"):
            net.begin(source.first(BEGIN))
        fits.append(Fit(net, loss, source, trained, seed=seed, show=problem.show, stall=stall / group,
                        file=problem.folder / f"checkpoint-{r}-{k}.pt"))
        nets.append(net)
    mixed = log_density and len(nets) > 1
    for group_of_rivals in [fits] if mixed and not config.online else [[fit] for fit in fits]:
        race(group_of_rivals)
    histories = [fit.finish() for fit in fits]
    weights = [1 / len(nets)] * len(nets)
    if mixed:
        weights = stacked([-fit.state.rows.cpu().double().numpy() for fit in fits])
    for net in nets:
        net.cpu()
    best = int(np.argmax(weights))
    return nets, {**told(histories, best), **counts.info(), "round": r, "weights": weights,
                  "warm": start is not None}


def told(histories: Sequence[History], which: int) -> dict:
    """One network's losses; all networks' seconds."""
    one = histories[which]
    return {"loss": one.loss, "validation_loss": one.validation_loss, "best_epoch": one.best_epoch,
            "training_seconds": round(sum(h.seconds for h in histories), 3)}


def stacked(log_q: Sequence[np.ndarray]) -> list[float]:
    """Weights w that maximise mean log sum_k w_k q_k, by expectation maximisation."""
    each = np.stack(log_q)
    each = each - each.max(axis=0)
    w = np.full(len(each), 1 / len(each))
    for _ in range(200):
        share = w[:, None] * np.exp(each)
        w = (share / share.sum(axis=0)).mean(axis=1)
    w[w < 0.01] = 0.0
    return [float(v) for v in w / w.sum()]


def in_rounds(problem: Problem, config: Any, learn: Callable[[int, list[Training], Any], Any],
              proposal: Callable[[Any], Any]) -> Any:
    """An engine after all rounds; `learn(r, rounds, engine)` trains on what there is by then."""
    rounds: list[Training] = []
    engine = learn(0, rounds, None)
    for r in range(1, config.rounds):
        rounds.append(problem.simulate(proposal(engine), config.round_simulations))
        engine = learn(r, rounds, engine)
    return engine


def earlier(problem: Problem, config: Any) -> dict[str, Any] | None:
    """The weights of a finished fit of this study with the same settings and fewer simulations."""
    found: list[tuple[int, Any]] = []
    for file in problem.folder.parent.glob("*/posterior.json"):
        held = json.loads(file.read_text())
        same = (held["estimator"]["name"] == problem.tag.rpartition("-")[0]
                and held["engine"]["config"] == vars(config)
                and held["feature_names"] == list(problem.view.names)
                and file.parent != problem.folder)
        if same:
            found.append((int(held["info"].get("simulations", 0)), file.parent / "arrays.npz"))
    if not found:
        return None
    with np.load(max(found, key=lambda f: f[0])[1]) as arrays:
        return {k.removeprefix("engine/"): v for k, v in arrays.items() if k.startswith("engine/")}
