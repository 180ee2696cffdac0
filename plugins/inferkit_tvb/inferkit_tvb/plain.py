"""Engine "tvb": TVB's own Simulator, a fresh one for each row.

The row's seed makes the one RandomState that draws the initial history and then the noise, in TVB's
own order; observation noise has a stream of its own.  A state that is no longer finite ends the run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inferkit_tvb import assemble
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.outputs import Watched, steps_of
from inferkit_tvb.paths import Paths, Values
from inferkit_tvb.surfaces import averaged

CHECK_EVERY = 50  # steps between two looks at whether the state is finite


class Diverged(ArithmeticError):
    def __init__(self, time: float):
        super().__init__(f"the simulation diverged: the state was not finite at {time:g} ms")
        self.time = time


class Plain:
    name = "tvb"

    def __init__(self, c: TVBConfig, paths: Paths, watched: tuple[Watched, ...]):
        self.c, self.paths, self.watched = c, paths, watched

    def run(self, values: Values, seeds: np.ndarray, free: frozenset = frozenset()
            ) -> tuple[dict[str, np.ndarray], dict[int, float]]:
        """The outputs of all rows, and the time of divergence (ms) of those that diverged."""
        out = {o.name: np.full((values.n, *o.shape), np.nan) for w in self.watched for o in w.outputs}
        diverged: dict[int, float] = {}
        for i in range(values.n):
            try:
                data = self.one(values, i, int(seeds[i]))
            except Diverged as told:
                diverged[i] = told.time
                continue
            for name, value in data.items():
                out[name][i] = value
        return out, diverged

    def one(self, values: Values, i: int, seed: int) -> dict[str, np.ndarray]:
        sim = self.simulator(values, i, seed)
        return collect(sim, self.watched, steps_of(self.c)[0])

    def simulator(self, values: Values, i: int, seed: int) -> Any:
        """Row i's Simulator, configured, its history drawn."""
        c = self.c
        if values.initial:
            c = replace(c, initial={k: np.asarray(v[i]) for k, v in values.initial.items()})
        sim = assemble.template(c)
        give(sim, values, i, self.paths)
        start(sim, c, seed)
        return sim


def give(sim: Any, values: Values, i: int, paths: Paths) -> None:
    """Set row i's values on a Simulator that is not configured yet."""
    for path, value in paths.fixed.items():
        thing, _, name = path.partition(".")
        setattr(getattr(sim, thing), name, value if np.ndim(value) else bool(value))
    for name, v in values.model.items():
        setattr(sim.model, name, np.atleast_1d(np.array(v[i], float)))
    sparse = isinstance(sim.coupling, assemble.tvb().coupling.SparseCoupling)
    for name, v in values.coupling.items():
        own = np.atleast_1d(np.array(v[i], float))
        if own.size > 1:
            own = own.reshape((-1, 1) if sparse else (-1, 1, 1))
        setattr(sim.coupling, name, own)
    sim.connectivity.speed = np.array([float(values.speed[i])])
    sim.connectivity.weights = sim.connectivity.weights * float(values.scale[i])
    if hasattr(sim.integrator, "noise"):
        sim.integrator.noise.nsig = np.array(values.nsig[i])
    if values.weight is not None:
        sim.stimulus.weight = np.array(values.weight[i])


def start(sim: Any, c: TVBConfig, seed: int) -> None:
    """Configure, with the history and all noise from one seed."""
    stream = random_state(seed, 0)
    if hasattr(sim.integrator, "noise"):
        sim.integrator.noise.random_stream = stream
    for k, monitor in enumerate(sim.monitors):
        if getattr(monitor, "obsnoise", None) is not None:
            monitor.obsnoise.random_stream = random_state(seed, 1 + k)
    sim.configure()
    horizon, variables, regions, modes = sim.good_history_shape
    history = assemble.initial_history(c, sim.model, horizon, regions)
    if history is not None:
        now = history[-1]
        set_history(sim, history, now if sim.surface is None else now[:, sim.surface.region_mapping])
        return
    if hasattr(sim.integrator, "noise"):
        return  # TVB drew it from the stream
    history = sim.model.initial(c.dt, (horizon, variables, sim.number_of_nodes, modes), stream)
    for sample in history:
        sim.integrator.bound_and_clamp(sample)
    history = np.roll(history, -1, axis=0)
    past = history if sim.surface is None else np.stack([averaged(sim, x) for x in history])
    set_history(sim, past, history[-1])


def set_history(sim: Any, past: np.ndarray, now: np.ndarray) -> None:
    """The regions' history (horizon, states, regions, modes), the present last, and the nodes' state,
    without moving TVB's clock.

    (Simulator.initial_conditions would start the clock at the horizon, and shift all times.)
    """
    sim.history.initialize(np.roll(past, 1, axis=0))
    sim.current_state = now.copy()
    sim.current_step = 0


def random_state(seed: int, stream: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed, spawn_key=(stream,))))


def collect(sim: Any, watched: tuple[Watched, ...], steps: int) -> dict[str, np.ndarray]:
    """Run, and keep what the monitors give after the transient."""
    guard(sim)
    kept: list[list[np.ndarray]] = [[] for _ in watched]
    seen = [0] * len(watched)
    with np.errstate(all="ignore"):
        for data in sim(n_steps=steps):
            for k, sample in enumerate(data[: len(watched)]):
                if sample is None:
                    continue
                seen[k] += 1
                if seen[k] > watched[k].skip:
                    kept[k].append(np.array(sample[1]))
    if not np.isfinite(sim.current_state).all():
        raise Diverged(steps * sim.integrator.dt)
    out = {}
    for w, samples in zip(watched, kept):
        y = np.stack(samples[: w.count])  # (time, variable, node, mode)
        for j, o in enumerate(w.outputs):
            out[o.name] = y[:, j].reshape(o.shape)
    return out


def guard(sim: Any) -> None:
    """A monitor that records nothing and stops a run that has left the finite numbers."""

    class Guard(assemble.tvb().monitors.Monitor):
        def sample(self, step, observed):
            if step % CHECK_EVERY == 0 and not np.isfinite(sim.current_state).all():
                raise Diverged(step * sim.integrator.dt)

    sim.monitors = [*sim.monitors, Guard()]
