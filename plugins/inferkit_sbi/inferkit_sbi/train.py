"""The training loop: batches that suit the machine, a high constant rate, and averaged weights.

What makes it several times faster than the usual loop at better held-out loss: batches grow with the
number of rows (a batch of 1,000 costs about twice one of 200); the rate stays high; and the network
that is validated and kept is an exponential average of the weights,

    w_avg <- d w_avg + (1 - d) w,   d = min(0.99, k / (k + 9)) at step k,

which is nearly as quiet as one trained with an annealed rate, at any time, so that no schedule has
to know when training ends.  When the average's validation loss has stalled for a third of the
patience, the rate falls to 0.4 of what it was; when it has for all of it, training ends.  Fresh
simulations cannot be overfitted, so there `epochs` is the plan: the rate falls along a cosine to 0.

The batches of an epoch are seeded by (seed, epoch) alone, so a fit that was killed resumes from its
checkpoint exactly: the same batches, the same network.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
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
from inferkit_sbi.rows import Batch, Source

CHECKPOINT_SECONDS = 20.0
STALL = 1e-3  # a smaller gain does not prolong training
STALL_STEPS = 200  # patience is no shorter than this; two lengths of the average
DECAY = 0.99
DROP = 0.4
PIECE = 1024

# (the network, a batch of columns) -> a loss for each row
Loss = Callable[[Any, Batch], torch.Tensor]


@dataclass
class History:
    """What happened: losses by epoch, the best epoch, seconds."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """These networks are small: on a CPU a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class State:
    """All that the next epoch depends on."""

    net: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    history: History
    best: dict
    epoch: int = 0
    step: int = 0
    stalled: int = 0
    drops: int = 0  # of the rate
    reference: float = math.inf  # the validation loss that progress is measured from


@one_thread()
def train(net: nn.Module, loss: Loss, source: Source, config: Any, *, seed: int,
          file: Path | None = None, show: Callable[[str, dict], None] = lambda e, v: None,
          stall: float = STALL) -> History:
    """Minimise the mean of `loss` over a source's rows; leaves `net` at its best validation loss."""
    rate = float(config.rate * 2 * np.sqrt(np.clip(source.size, 50, 1000) / 200))
    rate *= getattr(net, "pace", 1.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    s = State(net, copy.deepcopy(net), optimiser, History(), copy.deepcopy(net.state_dict()))
    s.average.requires_grad_(False).eval()
    if file is not None and file.exists():
        _resume(file, s)
    patience = max(config.patience, math.ceil(STALL_STEPS / source.steps))
    saved = began = time.monotonic()
    steps = config.epochs * source.steps if config.online else math.inf
    while s.epoch < config.epochs and s.stalled < patience:
        s.history.loss.append(_epoch(s, loss, source, rate, steps, config.clip, seed))
        now = _validate(s.average, loss, source.validation, seed)
        s.history.validation_loss.append(now)
        if now < min(s.history.validation_loss[:-1], default=math.inf):
            s.history.best_epoch, s.best = s.epoch, copy.deepcopy(s.average.state_dict())
        if now < s.reference - stall:
            s.reference, s.stalled = now, 0
        else:
            s.stalled += 1
            s.drops += s.stalled % max(1, patience // 3) == 0
        s.epoch += 1
        s.history.seconds += time.monotonic() - began
        began = time.monotonic()
        show("training", {"epoch": s.epoch, "loss": s.history.loss[-1], "validation": now,
                          "best": min(s.history.validation_loss)})
        if file is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint(file, s)
            saved = time.monotonic()
    net.load_state_dict(s.best)
    net.eval()
    if not np.isfinite(min(s.history.validation_loss, default=np.nan)):
        raise EstimatorError("training diverged: the validation loss was never finite",
                             fix="a smaller rate, or features without extreme values")
    return s.history


def _epoch(s: State, loss: Loss, source: Source, rate: float, steps: float, clip: float,
           seed: int) -> float:
    s.net.train()
    torch.manual_seed(_seed(seed, s.epoch))  # contrasts, atoms and times drawn inside the loss
    total, rows, warm = 0.0, 0, 2 * source.steps
    parameters, averaged = list(s.net.parameters()), list(s.average.parameters())
    for batch in source.epoch(s.epoch):
        s.step += 1
        cosine = 0.5 + 0.5 * math.cos(math.pi * s.step / steps)
        for group in s.optimiser.param_groups:
            group["lr"] = rate * DROP**s.drops * min(1.0, s.step / warm) * cosine
        s.optimiser.zero_grad(set_to_none=True)
        value = loss(s.net, batch).mean()
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, clip)
        if torch.isfinite(norm):  # one bad batch must not ruin the network
            s.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(DECAY, s.step / (s.step + 9)))
        total += float(value.detach()) * len(batch[0])
        rows += len(batch[0])
    return total / max(rows, 1)


@torch.no_grad()
def _validate(net: nn.Module, loss: Loss, rows: Batch, seed: int) -> float:
    torch.manual_seed(_seed(seed, 0))  # the same contrasts in every epoch, so that losses compare
    parts = zip(*(c.split(PIECE) for c in rows))
    return float(torch.cat([loss(net, list(part)) for part in parts]).mean())


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1)[0])


def checkpoint(file: Path, s: State) -> None:
    """One atomic file."""
    held = io.BytesIO()
    torch.save({"net": s.net.state_dict(), "average": s.average.state_dict(), "best": s.best,
                "optimiser": s.optimiser.state_dict(), "history": vars(s.history), "epoch": s.epoch,
                "step": s.step, "stalled": s.stalled, "drops": s.drops, "reference": s.reference}, held)
    write_atomic(file, [held.getvalue()])


def _resume(file: Path, s: State) -> None:
    try:
        held = torch.load(file, weights_only=True)
        s.net.load_state_dict(held["net"])
        s.average.load_state_dict(held["average"])
        s.optimiser.load_state_dict(held["optimiser"])
        s.history, s.best = History(**held["history"]), held["best"]
        s.epoch, s.step = held["epoch"], held["step"]
        s.stalled, s.drops, s.reference = held["stalled"], held["drops"], held["reference"]
    except Exception as cause:
        # torch's own words list every weight, or advise to load it unsafely.
        raise EstimatorError(f"the checkpoint {file} is damaged, or of another network",
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
