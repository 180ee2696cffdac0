"""NUTS and HMC over z, several chains side by side, in blocks that are checkpointed.

Chains begin at the best of many prior draws (or where Pathfinder leads).  After warm-up, chains whose
log-density lies far below the others' are stuck: they are put where the others are and all warm up
again.  Each block's draws and the chains' state are one atomic file, so a fit that was killed goes on
from its last block and ends with the same draws.

Told: split R-hat and effective sample size of every parameter, divergences, and the energy's
E-BFMI = sum (E_t - E_t-1)^2 / sum (E_t - mean E)^2, which is low (< 0.3) where momentum draws cannot
carry the chains through the tails.
"""

from __future__ import annotations

import io
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import infer
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem
from inferkit.store import write_atomic
from inferkit_numpyro.config import HMCConfig, NUTSConfig
from inferkit_numpyro.engine import Draws, precision
from inferkit_numpyro.target import Target, best_of_prior

STUCK = 10.0  # log-density below the best chain's, beyond what its dimension explains
FIELDS = ("diverging", "energy", "num_steps", "potential_energy")


class HMC:
    def __init__(self, config: HMCConfig | None = None):
        self.config = config or HMCConfig()

    restore = staticmethod(Draws.restore)

    def fit(self, problem: Problem) -> Draws:
        with precision(self.config):
            return Chains(problem, self.config).run()


class NUTS(HMC):
    def __init__(self, config: NUTSConfig | None = None):
        super().__init__(config or NUTSConfig())


class Chains:
    """All chains of one fit."""

    def __init__(self, problem: Problem, config: HMCConfig):
        self.problem, self.config = problem, config
        self.target = Target(problem, config)
        self.key = jax.random.key(int(problem.rng(0).integers(2**31)))
        self.file = problem.folder / "checkpoint.npz"

    def run(self) -> Draws:
        began = time.monotonic()
        mcmc = self._mcmc()
        kept, done, before = [], 0, 0.0
        state, restarts = None, 0
        if self.file.exists():
            state, held, restarts, before = self._load(mcmc)
            kept, done = [held], held["z"].shape[1]
        if state is None:
            state, restarts = self._warm_up(mcmc)
        draw = jax.jit(partial(drawn, mcmc.sampler), static_argnums=1)
        while done < self.config.draws:
            state, block = draw(state, min(self.config.block, self.config.draws - done))
            block = {k: np.asarray(v) for k, v in block.items()}
            if self.config.chains == 1:  # a single chain has no axis for chains
                block = {k: v[:, None] for k, v in block.items()}
            block = {k: np.moveaxis(v, 0, 1) for k, v in block.items()}
            kept.append(block)
            done += block["z"].shape[1]
            seconds = before + time.monotonic() - began
            self._save(state, joined(kept), restarts, seconds)
            self.problem.show("sampling", {
                "draws": done, "of": self.config.draws,
                "divergences": int(sum(b["diverging"].sum() for b in kept)),
                "eta": round((self.config.draws - done) * seconds / done)})
        return self._engine(joined(kept), restarts)

    def _mcmc(self) -> infer.MCMC:
        c = self.config
        common = {"dense_mass": c.mass == "dense", "adapt_mass_matrix": c.mass != "unit",
                  "target_accept_prob": c.target_accept,
                  "init_strategy": infer.init_to_value(values={})}
        if isinstance(c, NUTSConfig):
            kernel: Any = infer.NUTS(self.target.model, max_tree_depth=c.max_depth, **common)
        else:
            kernel = infer.HMC(self.target.model, num_steps=c.length, trajectory_length=None, **common)
        return infer.MCMC(kernel, num_warmup=c.warmup, num_samples=c.block, num_chains=c.chains,
                          chain_method="vectorized", progress_bar=False)

    def _warm_up(self, mcmc: infer.MCMC) -> tuple[Any, int]:
        start = self._start()
        for attempt in range(3):
            k = jax.random.fold_in(self.key, attempt)
            mcmc.warmup(k, init_params=start, extra_fields=FIELDS)
            state = mcmc.post_warmup_state
            height = -np.asarray(state.potential_energy)
            if self.config.chains == 1:
                return state, attempt
            dim = sum(int(np.prod(v.shape[1:])) for v in state.z.values())
            low = height < height.max() - STUCK - 3 * np.sqrt(2 * dim)
            if not np.isfinite(height).all():
                low |= ~np.isfinite(height)
            if not low.any() or attempt == 2:
                return state, attempt
            self.problem.show("restart", {"chains": int(low.sum())})
            good = np.flatnonzero(~low)
            at = np.where(low, np.resize(good, len(low)), np.arange(len(low)))
            start = {n: v[at] + 1e-3 * jax.random.normal(jax.random.fold_in(k, 9), v.shape)
                     for n, v in state.z.items()}
        raise AssertionError

    def _start(self) -> dict[str, jax.Array]:
        c = self.config
        z, noise = best_of_prior(self.target, max(c.candidates, c.chains), c.chains,
                                 jax.random.fold_in(self.key, 100))
        if c.pathfinder and noise is None:
            z = pathfinder(self.target, z, jax.random.fold_in(self.key, 101))
        start = {"z": z} if noise is None else {"z": z, "noise": noise}
        return start if c.chains > 1 else {k: v[0] for k, v in start.items()}

    def _engine(self, held: dict[str, np.ndarray], restarts: int) -> Draws:
        z = held["z"]
        theta = self.target.space.from_z(z.reshape(-1, z.shape[-1]))
        chains = theta.reshape(*z.shape)
        names = self.problem.prior.names
        energy = held["energy"]
        bfmi = np.square(np.diff(energy, axis=1)).sum(1) / np.square(
            energy - energy.mean(1, keepdims=True)).sum(1)
        info = {
            "ess": {n: ess(chains[..., i]) for i, n in enumerate(names)},
            "divergences": int(held["diverging"].sum()), "e_bfmi": float(bfmi.min()),
            "gradients": int(held["num_steps"].sum()), "restarts": restarts,
            "chains": int(z.shape[0]), "draws": int(z.shape[1]), "likelihood": self.target.kind,
        }
        if z.shape[1] >= 4:
            info["rhat"] = {n: float(split_gelman_rubin(chains[..., i]))
                            for i, n in enumerate(names)}
        stats = {"diverging": held["diverging"].astype(bool), "energy": energy,
                 "n_steps": held["num_steps"], "lp": -held["potential_energy"]}
        return Draws(theta, info, self.target.meta, stats)

    # -- checkpoints -----------------------------------------------------------------------------

    def _save(self, state: Any, held: dict, restarts: int, seconds: float) -> None:
        blob = io.BytesIO()
        leaves = {f"state/{i}": plain(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        np.savez(blob, restarts=restarts, seconds=seconds, **leaves,
                 **{f"draws/{k}": v for k, v in held.items()})
        write_atomic(self.file, [blob.getvalue()])

    def _load(self, mcmc: infer.MCMC) -> tuple[Any, dict, int, float]:
        """The state's structure comes from a warm-up of one step; its values from the file."""
        try:
            with np.load(self.file, allow_pickle=False) as f:
                told = dict(f)
            one = infer.MCMC(mcmc.sampler, num_warmup=1, num_samples=1, num_chains=self.config.chains,
                             chain_method="vectorized", progress_bar=False)
            one.warmup(self.key, init_params=self._start(), extra_fields=FIELDS)
            like, tree = jax.tree.flatten(one.post_warmup_state)
            state = jax.tree.unflatten(tree, [restored(told[f"state/{i}"], leaf)
                                              for i, leaf in enumerate(like)])
        except Exception as cause:
            raise EstimatorError(f"the checkpoint {self.file} cannot be read: {cause}",
                                 fix=f"delete it to sample from the start: {self.file}") from cause
        held = {k.removeprefix("draws/"): v for k, v in told.items() if k.startswith("draws/")}
        return state, held, int(told["restarts"]), float(told["seconds"])


def ess(chains: np.ndarray) -> float:
    """Effective sample size of (chains, draws).

    Where draws alternate so well that the estimate exceeds n log10 n, or its autocorrelation time
    comes out below 0, that bound is told: more is not to be trusted.
    """
    n = chains.size
    found, most = float(effective_sample_size(chains)), n * np.log10(n)
    return found if 0 < found < most else float(most)


def drawn(kernel: Any, state: Any, n: int) -> tuple[Any, dict[str, jax.Array]]:
    """n more draws of all chains: (the state then, arrays (n, chains, ...)).

    MCMC.run would do it too, but compiles its loop again at each call.
    """
    def one(state, _):
        state = kernel.sample(state, (), {})
        return state, {"z": state.z["z"], **{f: getattr(state, f) for f in FIELDS}}

    return jax.lax.scan(one, state, length=n)


def joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.concatenate([b[k] for b in blocks], axis=1) for k in blocks[0]}


def plain(leaf: Any) -> np.ndarray:
    """An array as numpy; random keys as their words."""
    if jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)


def restored(value: np.ndarray, like: Any) -> Any:
    if jnp.issubdtype(jnp.asarray(like).dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(value)
    return jnp.asarray(value, dtype=jnp.asarray(like).dtype)


def pathfinder(target: Target, start: jax.Array, key: jax.Array) -> jax.Array:
    """A draw of Pathfinder's approximation from each start."""
    try:
        import blackjax
    except ImportError:
        raise EstimatorError("pathfinder = true needs blackjax", fix="pip install blackjax") from None

    def density(z):
        return target.log_likelihood(z) - 0.5 * jnp.sum(z**2)

    out = []
    for i, z in enumerate(start):
        k1, k2 = jax.random.split(jax.random.fold_in(key, i))
        found, _ = blackjax.vi.pathfinder.approximate(k1, density, z)
        draws, _ = blackjax.vi.pathfinder.sample(k2, found, 1)
        out.append(jnp.where(jnp.isfinite(draws[0]).all(), draws[0], z))
    return jnp.stack(out)


