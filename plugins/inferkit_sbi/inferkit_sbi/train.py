"""The training loop: all rows in memory as tensors, no data loader, batches that suit the machine.

Two levers make it several times faster than sbi's own loop at equal held-out loss.  Batches grow
with the number of rows (a batch of 1,000 costs about twice a batch of 200), with the learning rate
scaled by the square root; and the rate halves when the validation loss stalls, so fewer epochs are
needed.  The best network by validation loss is kept.

Batches of an epoch are a permutation seeded by (seed, epoch) alone, so a fit that was killed resumes
from its checkpoint exactly: the same batches, the same network.
"""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.store import write_atomic

CHECKPOINT_SECONDS = 20.0
Loss = Callable[[torch.Tensor, bool], torch.Tensor]  # (row numbers, training?) -> loss a row


@dataclass
class History:
    """What happened: losses by epoch, the best epoch, seconds."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


def batch_size(n: int, wanted: int) -> int:
    """About fifteen steps an epoch, within what a CPU does well."""
    return min(n, wanted) if wanted else int(np.clip(n // 15, min(n, 100), 2000))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """These networks are small: on a CPU a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(net: nn.Module, loss: Loss, rows: int, config: Any, *, seed: int, file: Path | None = None,
          show: Callable[[str, dict], None] = lambda e, v: None) -> History:
    """Minimise the mean of `loss` over rows; leaves `net` at its best validation loss."""
    order = np.random.default_rng([seed, 1]).permutation(rows)
    held = max(1, int(config.validation * rows))
    validation = torch.as_tensor(order[:held])
    training = order[held:]
    if len(training) < 2:
        raise EstimatorError(f"{rows} simulations are too few to train on",
                             fix="study.simulate(1000)")
    size = batch_size(len(training), config.batch)
    rate = float(config.rate * np.sqrt(max(1.0, size / 200)) * (2.0 if size > 200 else 1.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    history, best, start = History(), copy.deepcopy(net.state_dict()), 0
    stalled, saved, began = 0, time.monotonic(), time.monotonic()
    halve_after = max(1, config.patience // 4)
    if file is not None and file.exists():
        start, stalled, history, best = _resume(file, net, optimiser)
    for epoch in range(start, config.epochs):
        if stalled >= config.patience:
            break
        net.train()
        shuffled = torch.as_tensor(np.random.default_rng([seed, 2, epoch]).permutation(training))
        torch.manual_seed(_seed(seed, epoch))  # contrasts and atoms drawn inside the loss
        total = 0.0
        for rows_now in shuffled.split(size):
            optimiser.zero_grad(set_to_none=True)
            value = loss(rows_now, True).mean()
            value.backward()
            norm = nn.utils.clip_grad_norm_(net.parameters(), config.clip)
            if torch.isfinite(norm):  # one bad batch must not ruin the network
                optimiser.step()
            total += float(value.detach()) * len(rows_now)
        history.loss.append(total / len(training))
        history.validation_loss.append(_validate(net, loss, validation, seed))
        stalled += 1
        if history.validation_loss[-1] < min(history.validation_loss[:-1], default=np.inf):
            history.best_epoch, stalled, best = epoch, 0, copy.deepcopy(net.state_dict())
        elif stalled % halve_after == 0:
            for group in optimiser.param_groups:
                group["lr"] *= 0.5
        history.seconds += time.monotonic() - began
        began = time.monotonic()
        show("training", {"epoch": epoch + 1, "loss": history.loss[-1],
                          "validation": history.validation_loss[-1],
                          "best": min(history.validation_loss)})
        if file is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint(file, net, optimiser, epoch + 1, stalled, history, best)
            saved = time.monotonic()
    net.load_state_dict(best)
    net.eval()
    if not np.isfinite(min(history.validation_loss, default=np.nan)):
        raise EstimatorError("training diverged: the validation loss was never finite",
                             fix="a smaller rate, or features without extreme values")
    return history


@torch.no_grad()
def _validate(net: nn.Module, loss: Loss, rows: torch.Tensor, seed: int) -> float:
    net.eval()
    torch.manual_seed(_seed(seed, 0))  # the same contrasts in every epoch, so that losses compare
    values = torch.cat([loss(part, False) for part in rows.split(4096)])
    return float(values.mean())


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1)[0])


def checkpoint(file: Path, net: nn.Module, optimiser: Any, epoch: int, stalled: int,
               history: History, best: dict) -> None:
    """Everything that the next epoch depends on, in one atomic file."""
    held = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch,
                "stalled": stalled, "history": vars(history), "best": best}, held)
    write_atomic(file, [held.getvalue()])


def _resume(file: Path, net: nn.Module, optimiser: Any) -> tuple[int, int, History, dict]:
    try:
        held = torch.load(file, weights_only=True)
        net.load_state_dict(held["net"])
        optimiser.load_state_dict(held["optimiser"])
        return held["epoch"], held["stalled"], History(**held["history"]), held["best"]
    except Exception as cause:
        raise EstimatorError(f"the checkpoint {file} cannot be read: {cause}",
                             fix=f"delete it to train from the start: {file}") from cause


def device_of(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise EstimatorError(f"device {wanted!r} cannot be used: {cause}", allowed="auto, cpu, cuda",
                             fix='device = "auto"') from None
    return device
