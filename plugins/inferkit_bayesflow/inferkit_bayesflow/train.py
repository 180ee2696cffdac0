"""The training loop: a schedule, early stopping with the best weights, checkpoints, exact resume.

    minimise over w   mean_i loss(w; z_i, x_i),    loss = -log q_w(z_i | x_i) for a flow

with Adam.  Everything the next step depends on (weights, Adam's moments and step, streams of noise)
is in the machine's state, and batches depend on (seed, epoch) alone, so a fit that was killed goes
on from its checkpoint to the same bytes.  Losses stay on the device until an epoch ends, so steps
run back to back.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.store import write_atomic
from inferkit_bayesflow.config import BayesFlowConfig
from inferkit_bayesflow.rows import Source

CHECKPOINT_SECONDS = 20.0
RISE = 0.05
REPEATS = 4  # noisy losses: validation averages over times and noise, or chance would choose


@dataclass
class History:
    """What happened so far."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    epoch: int = 0
    stalled: int = 0
    seconds: float = 0.0


def optimizer(config: BayesFlowConfig, steps: int) -> Any:
    """Adam with the schedule of these settings, for `steps` an epoch."""
    import keras

    schedules = keras.optimizers.schedules
    rate: Any = config.rate
    total = steps * config.epochs
    if config.schedule == "cosine":
        rise = max(1, int(RISE * total))
        rate = schedules.CosineDecay(0.1 * rate, max(1, total - rise), warmup_target=rate,
                                     warmup_steps=rise)
    elif config.schedule == "exponential":
        rate = schedules.ExponentialDecay(rate, steps, config.decay)
    if config.weight_decay:
        return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, clipnorm=config.clip)
    return keras.optimizers.Adam(rate, clipnorm=config.clip)


def train(machine: Any, source: Source, config: BayesFlowConfig, *, file: Path,
          show: Callable[[str, dict], None] = lambda event, values: None) -> History:
    """Leaves the machine at its best validation loss, or at its last where losses do not compare."""
    h, best = History(), machine.state()["weights"]
    if file.exists():
        h, best = _resume(file, machine)
    ends = config.patience and config.comparable and not config.online  # fresh rows do not overfit
    patience = config.patience if ends else math.inf
    saved = began = time.monotonic()
    while h.epoch < config.epochs and h.stalled < patience:
        losses = [machine.train(batch) for batch in source.epoch(h.epoch)]
        h.loss.append(float(np.mean([float(v) for v in losses])))
        now = _validate(machine, source, config)
        h.validation_loss.append(now)
        if not config.comparable or now < min(h.validation_loss[:-1], default=math.inf):
            h.best_epoch, h.stalled, best = h.epoch, 0, machine.state()["weights"]
        else:
            h.stalled += 1
        h.epoch += 1
        h.seconds += time.monotonic() - began
        began = time.monotonic()
        show("training", {"epoch": h.epoch, "loss": h.loss[-1], "validation": now,
                          "best": min(h.validation_loss)})
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint(file, machine, h, best)
            saved = time.monotonic()
    if not np.isfinite(min(h.validation_loss, default=np.nan)):
        raise EstimatorError("training diverged: the validation loss was never finite",
                             fix="a smaller rate, or features without extreme values")
    machine.restore({"weights": best})
    return h


def _validate(machine: Any, source: Source, config: BayesFlowConfig) -> float:
    """The same noise in every epoch, so that losses compare."""
    repeats = 1 if config.flow else REPEATS
    values = [float(machine.validate(batch, 1000 * i + r))
              for r in range(repeats) for i, batch in enumerate(source.validation)]
    return float(np.mean(values))


def checkpoint(file: Path, machine: Any, history: History, best: list[np.ndarray]) -> None:
    """One atomic file of numbers."""
    held = {"history": np.frombuffer(json.dumps(asdict(history)).encode(), np.uint8)}
    for name, values in {**machine.state(), "best": best}.items():
        held |= {f"{name}/{i:04d}": v for i, v in enumerate(values)}
    blob = io.BytesIO()
    np.savez(blob, **held)  # type: ignore[arg-type]
    write_atomic(file, [blob.getvalue()])


def _resume(file: Path, machine: Any) -> tuple[History, list[np.ndarray]]:
    try:
        with np.load(file, allow_pickle=False) as held:
            history = History(**json.loads(held["history"].tobytes()))
            state = grouped({k: held[k] for k in held.files if k != "history"})
        best = state.pop("best")
        machine.restore({name: state.get(name, []) for name in ("weights", "others", "moments")})
        return history, best
    except Exception as cause:
        raise EstimatorError(f"the checkpoint {file} is damaged, or of another network",
                             fix=f"delete it to train from the start: {file}") from cause


def grouped(arrays: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """{"weights/0000": …} as {"weights": […]}."""
    out: dict[str, list[np.ndarray]] = {}
    for key in sorted(arrays):
        out.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    return out
