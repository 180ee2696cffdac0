"""A fit from start to finish: split, start from the data, stages, looks at held-out trials, resume."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.errors import EstimatorError
from inferkit.store import write_atomic
from inferkit_mrsds.config import MRSDSConfig, program
from inferkit_mrsds.data import Trials, split
from inferkit_mrsds.layout import Layout
from inferkit_mrsds.model.model import Batch, Model
from inferkit_mrsds.train import start
from inferkit_mrsds.train.loop import (
    LOGGED,
    Held,
    Stage,
    Trainer,
    copied,
    held_out_elbo,
    schedules,
    stages,
)


@dataclass
class Fitted:
    model: Model
    layout: Layout
    train: np.ndarray  # rows of the data that were trained on
    test: np.ndarray  # rows held out
    info: dict = field(default_factory=dict)


def fit(c: MRSDSConfig, t: Trials, seed: int = 0, folder: Path | None = None,
        show: Callable[[str, dict], None] = lambda event, values: None, number: int = 0) -> Fitted:
    """Train on trials.  With a folder, looks are logged in metrics.jsonl and can be resumed from.

    number: of several fits to the same split of the trials.
    """
    began = time.monotonic()
    train, test = split(len(t), c.training.test, np.random.default_rng([seed, 1]))
    T, V = t.select(train), t.select(test if len(test) else train)
    layout = Layout.of(T, c.emissions.family, c.d)
    data, look = to_batch(layout, T), to_batch(layout, V)
    S, R, M = layout.shape
    for r in c.dynamics.input_regions:
        if r >= R:
            raise EstimatorError(f"input_regions names region {r}", allowed=f"0 to {R - 1}")
    plan = stages(c)
    state = Resume(folder, fingerprint(c, t, seed), number)
    start_seed = seed + 1000003 * (c.model_seed + 101 * number)
    model = Model.create(jax.random.key(start_seed % 2**31), program(c), S, R, M, layout.U)
    given = None
    if not state.load(model, c):
        if folder is not None and number == 0:
            (folder / "metrics.jsonl").unlink(missing_ok=True)
        x, arrays = start.components(T, layout, c.d)
        model = start.begin(model, x, arrays, T, layout, c.noise.y)
        if c.K > 1 and c.training.init == "arhmm" and c.training.init_steps:
            show("start", {"states": "by an autoregressive hidden Markov model"})
            given = start.arhmm(x, T.u, T.mask, c.K, c.training.restarts,
                                np.random.default_rng([seed, 2, c.model_seed, number]))
        state.given = given
        state.best = model
    trainer = Trainer(c, data, None if state.given is None else jnp.asarray(state.given, jnp.float32),
                      start_seed % 2**31, sum(s.steps for s in plan))
    if state.held is None:
        state.held = trainer.start(model)
    for number in range(state.stage, len(plan)):
        _stage(c, trainer, plan[number], look, state, show)
        if number + 1 < len(plan):
            state.next_stage(trainer)
    info = {"loss": state.curves["loss"], "validation_loss": state.curves["held"],
            "best_epoch": int(np.argmin(state.curves["held"])), "curves": state.curves,
            "steps": int(sum(state.steps)), "train_trials": len(train), "test_trials": len(test),
            "train_seconds": time.monotonic() - began, "device": jax.devices()[0].platform}
    return Fitted(state.best, layout, train, test, info)


def to_batch(layout: Layout, t: Trials, hidden: np.ndarray | None = None) -> Batch:
    return Batch(**{k: jnp.asarray(v) for k, v in layout.pack(t, hidden).items()})


def _stage(c: MRSDSConfig, trainer: Trainer, stage: Stage, look: Batch, state: Resume,
           show: Callable) -> None:
    """One stage's steps, `evaluate` at a time."""
    while state.done < stage.steps and not state.tired(c.training.patience):
        count = min(c.training.evaluate, stage.steps - state.done)
        began = time.monotonic()
        held, log = trainer.run(state.held, stage, state.done, count)
        if not np.isfinite(log[:, :4]).all():
            raise EstimatorError(
                f"the loss became {log[:, 0][~np.isfinite(log[:, 0])][:1]} at step "
                f"{stage.first + state.done}",
                fix="training.rate a third of it; look for huge values in ys",
            )
        candidate = held.average if c.training.average else held.model
        elbo = float(held_out_elbo(candidate, look, jax.random.key(17), program(c)))
        state.seen(held, candidate, count, log, elbo)
        found = schedules(stage, state.done, trainer.total, program(c))
        turned = {k: float(v) for k, v in found.items()}
        for k, v in turned.items():
            state.curves[k].append(v)
        told = {"step": stage.first + state.done, "elbo": float(log[-20:, 1].mean()),
                "held_out_elbo": elbo, "seconds_a_step": (time.monotonic() - began) / count}
        show("training", told)
        state.write({**told, **turned, **{k: float(v) for k, v in zip(LOGGED, log[-20:].mean(0))}})


class Resume:
    """Where a fit stands, in memory and in its folder.

    `best` is the model with the highest held-out ELBO so far: an early stop returns to it.
    """

    def __init__(self, folder: Path | None, tag: str, number: int = 0):
        self.folder, self.tag, self.number = folder, tag, number
        self.stage, self.done, self.steps = 0, 0, [0]
        self.held: Held | None = None
        self.best: Model | None = None
        self.best_elbo, self.since = -np.inf, 0
        self.given: np.ndarray | None = None
        self.curves: dict[str, list[float]] = {
            k: [] for k in (*LOGGED, "held", "rate", "temperature")}

    def seen(self, held: Held, candidate: Model, count: int, log: np.ndarray, elbo: float) -> None:
        self.held, self.done = held, self.done + count
        self.steps[-1] = self.done
        for k, v in zip(LOGGED, log[-20:].mean(0)):
            self.curves[k].append(float(v))
        self.curves["held"].append(-elbo)
        if elbo > self.best_elbo:
            self.best_elbo, self.since = elbo, 0
            self.best = copied(candidate)
        else:
            self.since += 1

    def tired(self, patience: int) -> bool:
        return bool(patience) and self.since >= patience

    def next_stage(self, trainer: Trainer) -> None:
        """The next stage starts from the best model, with a fresh optimiser."""
        self.stage, self.done, self.since = self.stage + 1, 0, 0
        self.steps.append(0)
        assert self.best is not None
        self.held = trainer.start(self.best)

    # -- files -------------------------------------------------------------------------------------

    def write(self, told: dict) -> None:
        if self.folder is None:
            return
        leaves = {f"held{i}": a for i, a in enumerate(jax.tree.leaves(self.held))}
        leaves |= {f"best{i}": a for i, a in enumerate(jax.tree.leaves(self.best))}
        if self.given is not None:
            leaves["given"] = self.given
        meta = {"tag": self.tag, "stage": self.stage, "done": self.done, "steps": self.steps,
                "best_elbo": self.best_elbo, "since": self.since, "curves": self.curves}
        blob = io.BytesIO()
        np.savez(blob, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
                 **{k: np.asarray(v) for k, v in leaves.items()})
        write_atomic(self.folder / f"checkpoint{self.number}.npz", [blob.getvalue()])
        with (self.folder / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"fit": self.number, **told}) + "\n")

    def load(self, model: Model, c: MRSDSConfig) -> bool:
        """Take up the folder's checkpoint, if it is of this very fit."""
        file = self.folder / f"checkpoint{self.number}.npz" if self.folder else None
        if file is None or not file.exists():
            return False
        try:
            with np.load(file, allow_pickle=False) as kept:
                arrays = dict(kept)
            meta = json.loads(arrays["meta"].tobytes())
        except (OSError, ValueError, KeyError) as cause:
            raise EstimatorError(f"the checkpoint {file} is damaged: {cause}",
                                 fix=f"delete it: the fit starts anew (rm {file})") from cause
        if meta.pop("tag") != self.tag:
            raise EstimatorError(f"the checkpoint {file} is of other data, seed or settings",
                                 fix=f"another path, or rm {file}")
        skeleton = Trainer(c, None, None, 0, 0).start(model)  # type: ignore[arg-type]
        for name, like in (("held", skeleton), ("best", model)):
            found = [jnp.asarray(arrays[f"{name}{i}"]) for i in range(len(jax.tree.leaves(like)))]
            setattr(self, name, jax.tree.unflatten(jax.tree.structure(like), found))
        for k, v in meta.items():
            setattr(self, k, v)
        self.given = arrays.get("given")
        return True


def fingerprint(c: MRSDSConfig, t: Trials, seed: int) -> str:
    """What a checkpoint belongs to."""
    import hashlib

    h = hashlib.blake2b(json.dumps([asdict(c), seed, t.region_sizes], sort_keys=True,
                                   default=str).encode(), digest_size=12)
    for a in (t.y, t.u, t.lengths, t.session):
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()
