"""A fitted model and what it says of data: the object behind `posterior.engine`.

Every method takes the data to look at, by default those of the fit: arrays as the fit's (`ys`, `us`,
…), trials of any length.  Results are numpy, trials first, NaN or -1 where a trial has no bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.data import Draws
from inferkit.errors import DataError
from inferkit.plugins import schema
from inferkit_mrsds.analyse import draws as compiled
from inferkit_mrsds.analyse import messages as message_terms
from inferkit_mrsds.analyse import predict
from inferkit_mrsds.analyse.messages import Messages
from inferkit_mrsds.config import MRSDSConfig, program
from inferkit_mrsds.data import Trials, given_trials
from inferkit_mrsds.layout import Layout
from inferkit_mrsds.model.model import Batch, Model
from inferkit_mrsds.train.fit import Fitted, to_batch


class Engine:
    def __init__(self, c: MRSDSConfig, fitted: Fitted, data: Trials):
        self.c, self.model, self.layout, self.data = c, fitted.model, fitted.layout, data
        self.program = program(c)  # what compiled functions are told
        self.train, self.test, self.info = fitted.train, fitted.test, fitted.info

    # -- data ------------------------------------------------------------------------------------

    def trials(self, x: Any = None) -> Trials:
        """Data in any form as checked trials."""
        t = self.data if x is None else x if isinstance(x, Trials) else given_trials(
            x, self.layout.region_sizes)
        self.layout.check(t)
        return t

    @property
    def held_out(self) -> Trials:
        """The trials that were not trained on (all of them, where none was held out)."""
        return self.data.select(self.test) if len(self.test) else self.data

    def _batch(self, t: Trials, hidden: np.ndarray | None = None) -> Batch:
        return to_batch(self.layout, t, hidden)

    # -- the posterior ---------------------------------------------------------------------------

    def draws(self, n: int, x: Any, rng: np.random.Generator) -> Draws:
        """Latents and states drawn from the posterior, as named arrays."""
        t = self.trials(x)
        found = [self._draw(t, int(rng.integers(2**31))) for _ in range(n)]
        R, d = found[0][0].shape[2:]
        dims = ("trial", "time", "region", "latent")
        return Draws(
            {"latents": np.stack([f[0] for f in found]), "states": np.stack([f[1] for f in found])},
            dims={"latents": dims, "states": dims[:2]},
            coords={"trial": np.arange(len(t)), "time": np.arange(t.y.shape[1]), "region": np.arange(R),
                    "latent": np.arange(d)})

    def _draw(self, t: Trials, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        with compiled.device(self.c):
            out = compiled.posterior(self.model, self._batch(t), jax.random.key(seed), self.program)
        blank = ~t.mask
        x = np.array(out.x)
        x[blank] = np.nan
        p = np.array(out.probability)
        p[blank] = np.nan
        return x, np.where(blank, -1, np.asarray(out.z)), p, np.asarray(out.elbo)

    def latents(self, x: Any = None) -> np.ndarray:
        """The posterior's centre, (trial, time, region, latent)."""
        t = self.trials(x)
        found = np.array(self._still(t).x)
        found[~t.mask] = np.nan
        return found

    def _still(self, t: Trials) -> compiled.Draw:
        with compiled.device(self.c):
            return compiled.posterior(self.model, self._batch(t), jax.random.key(0), self.program,
                                      still=True)

    def states(self, x: Any = None, *, n: int = 8, seed: int = 0) -> np.ndarray:
        """Probability of each state, (trial, time, K), averaged over n draws of the latents."""
        t = self.trials(x)
        return np.mean([self._draw(t, seed + i)[2] for i in range(n)], 0)

    def viterbi(self, x: Any = None) -> np.ndarray:
        """The most probable path of states, (trial, time); -1 where a trial has ended."""
        t = self.trials(x)
        if self.c.K == 1:
            return np.where(t.mask, 0, -1)
        with compiled.device(self.c):
            path = compiled.best_path(self.model, self._batch(t), jax.random.key(0), self.program)
        return np.where(t.mask, np.asarray(path), -1)

    def activity(self, x: Any = None) -> np.ndarray:
        """Expected activity of each neuron given the latents' centre, (trial, time, neuron)."""
        t = self.trials(x)
        return self._expected(self._still(t).x, t)

    def _expected(self, latents: Any, t: Trials) -> np.ndarray:
        with compiled.device(self.c):
            out = compiled.expected(self.model, jnp.asarray(latents), jnp.asarray(t.session))
        return self._neurons(out, t)

    def along(self, x: Any = None) -> compiled.Along:
        """Log odds of changes, log densities by state, and activity predicted a bin ahead."""
        t = self.trials(x)
        with compiled.device(self.c):
            out = compiled.along(self.model, self._batch(t), self.program)
        a, b = (np.where(t.mask.reshape(*t.mask.shape, *[1] * (v.ndim - 2)), v, np.nan)
                for v in map(np.asarray, out[:2]))
        return compiled.Along(a, b, self._neurons(out.activity, t))

    def _neurons(self, out: Any, t: Trials) -> np.ndarray:
        """The model's (R, B, T, M) as the data's (B, T, N), NaN behind a trial's end."""
        y = self.layout.gather(np.asarray(out), t.session)
        if y.shape[1] == t.y.shape[1]:
            y[~t.mask] = np.nan
        return y

    def elbo(self, x: Any = None, *, n: int = 8, seed: int = 0, model: Model | None = None
             ) -> np.ndarray:
        """The ELBO of each trial in nats (of standardised activity), averaged over n draws."""
        t = self.trials(x)
        with compiled.device(self.c):
            batch = self._batch(t)
            return np.mean([np.asarray(compiled.posterior(
                model or self.model, batch, jax.random.key(seed + i), self.program).elbo)
                for i in range(n)], 0)

    # -- dynamics --------------------------------------------------------------------------------

    def messages(self, x: Any = None) -> Messages:
        """What regions send each other (`inferkit_mrsds.analyse.messages`)."""
        t = self.trials(x)
        still = self._still(t)
        with compiled.device(self.c):
            return message_terms.messages(self.model, np.asarray(still.x), t.u,
                                          np.asarray(still.probability), t.mask)

    def ablation(self, x: Any = None, *, n: int = 4, seed: int = 0) -> np.ndarray:
        """Fall of the ELBO (nats a bin) with one message held at its mean, (target, source)."""
        t = self.held_out if x is None else self.trials(x)
        R = self.model.generative.dynamics.R
        still = self._still(t)
        with compiled.device(self.c):
            terms = message_terms.terms(self.model, still.x, jnp.asarray(t.u, jnp.float32))
        w = np.where(t.mask[:, 1:, None], np.asarray(still.probability)[:, 1:], 0.0).transpose(2, 0, 1)
        means = message_terms.constants(np.asarray(terms.messages), w)
        whole = self.elbo(t, n=n, seed=seed)
        fall = np.full((R, R), np.nan)
        for i in range(R):
            for j in range(R):
                if i != j:
                    less = message_terms.ablated(self.model, i, j, means)
                    fall[i, j] = (whole - self.elbo(t, n=n, seed=seed, model=less)).sum() / t.mask.sum()
        return fall

    def vector_field(
        self,
        region: int,
        state: int = 0,
        *,
        points: int = 20,
        axes: Sequence[int] = (0, 1),
        x: Any = None,
    ) -> dict[str, np.ndarray]:
        """A region's own dynamics on a grid over its latents, other regions' messages at their means.

        position, step: (points, points, 2), or (points, 1) each of a single latent.
        """
        t = self.trials(x)
        still = self._still(t)
        path = np.asarray(still.x)
        with compiled.device(self.c):
            terms = message_terms.terms(self.model, still.x, jnp.asarray(t.u, jnp.float32))
            w = np.where(t.mask[:, 1:, None], np.asarray(still.probability)[:, 1:], 0.0)
            means = message_terms.constants(np.asarray(terms.messages), w.transpose(2, 0, 1))
            return predict.field(self.model, path[t.mask], means, region, state, points, tuple(axes))

    def generate(self, u: np.ndarray | None = None, *, n: int = 10, bins: int | None = None,
                 seed: int = 0, session: int = 0) -> dict[str, np.ndarray]:
        """Trials from the model itself: ys, xs (n, bins, region, latent), zs.

        u: inputs (n, bins, U), by default those of trials of the fit, drawn at random.
        """
        rng = np.random.default_rng(seed)
        if u is None:
            rows = rng.integers(len(self.data), size=n)
            bins = bins or int(self.data.lengths.min())
            if bins > self.data.u.shape[1] and self.layout.U:
                raise DataError(f"generate(bins={bins}) needs inputs", fix="u=array (n, bins, inputs)")
            u = self.data.u[rows, :bins] if self.layout.U else np.zeros((n, bins, 0))
        u = np.asarray(u, float)
        if u.ndim != 3 or u.shape[-1] != self.layout.U:
            raise DataError(f"u has shape {u.shape}", allowed=f"(n, bins, {self.layout.U})")
        with compiled.device(self.c):
            xs, zs = predict.generate(self.model, jnp.asarray(u, jnp.float32), jax.random.key(seed))
        sessions = np.full(len(u), session)
        blank = Trials(
            np.zeros((len(u), u.shape[1], 1)), u, np.full(len(u), u.shape[1]), sessions, (), {}
        )
        ys = self._expected(xs, blank)
        return {"ys": self._noisy(ys, sessions, rng), "xs": np.asarray(xs), "zs": np.asarray(zs)}

    def _noisy(self, y: np.ndarray, session: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Expected activity (…, B, T, N) with the noise of the emissions."""
        if self.c.emissions.family == "poisson":
            return np.where(np.isnan(y), np.nan, rng.poisson(np.nan_to_num(np.minimum(y, 1e9))))
        return y + self.noise_sd(session) * rng.standard_normal(y.shape)

    def noise_sd(self, session: np.ndarray) -> np.ndarray:
        """The sd of each neuron's noise (Gaussian), (trial, 1, neuron), in the data's units."""
        scale = np.asarray(self.model.generative.emissions.scale())
        out = np.full((self.layout.sessions, sum(self.layout.region_sizes)), np.nan)
        for s in range(self.layout.sessions):
            there = self.layout.place[s] >= 0
            cols = self.layout.place[s][there]
            out[s, cols] = scale[s][there] * self.layout.scale[s][cols]
        return out[session][:, None]

    # -- prediction ------------------------------------------------------------------------------

    def forecast(self, x: Any = None, *, t: int, horizon: int = 10, n: int = 50, seed: int = 0
                 ) -> predict.Forecast:
        """What follows bin t - 1 of each trial, known its first t bins and all inputs."""
        return predict.forecast(
            self, self.held_out if x is None else self.trials(x), t, horizon, n, seed
        )

    def forecast_r2(self, x: Any = None, *, horizon: int = 10, starts: Sequence[int] | None = None,
                    n: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
        """R^2 of activity 1 … horizon bins ahead: of the model, of staying put, of the mean."""
        return predict.forecast_r2(
            self, self.held_out if x is None else self.trials(x), horizon, starts, n, seed
        )

    def cosmooth(self, x: Any = None, *, share: float = 0.25, seed: int = 0, rounds: int = 4
                 ) -> predict.Cosmoothing:
        """A fixed random share of each region's neurons, predicted from the others."""
        return predict.cosmooth(
            self, self.held_out if x is None else self.trials(x), share, seed, rounds
        )

    # -- files -----------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        arrays = {f"model/{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(self.model))}
        placed, layout = self.layout.state()
        arrays |= {f"layout/{k}": v for k, v in placed.items()}
        arrays |= {"train": self.train, "test": self.test}
        t = self.data
        arrays |= {"data/y": t.y, "data/u": t.u, "data/lengths": t.lengths, "data/session": t.session}
        arrays |= {f"truth/{k}": v for k, v in t.truth.items()}
        return arrays, {"config": schema.plain(self.c), "layout": layout, "info": self.info}

    @staticmethod
    def restore(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], prior: Any = None) -> Engine:
        c = schema.build(MRSDSConfig, meta["config"], "a saved fit")

        def under(head: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(head): v for k, v in arrays.items() if k.startswith(head)}

        layout = Layout.restore(under("layout/"), meta["layout"])
        S, R, M = layout.shape
        skeleton = jax.eval_shape(lambda: Model.create(jax.random.key(0), c, S, R, M, layout.U))
        leaves = under("model/")
        model = jax.tree.unflatten(jax.tree.structure(skeleton),
                                   [jnp.asarray(leaves[str(i)]) for i in range(len(leaves))])
        data = Trials(
            arrays["data/y"],
            arrays["data/u"],
            arrays["data/lengths"],
            arrays["data/session"],
            layout.region_sizes,
            under("truth/"),
        )
        return Engine(
            c, Fitted(model, layout, arrays["train"], arrays["test"], dict(meta["info"])), data
        )
