"""Summary and inference networks from the settings, joined in one of bayesflow's approximators.

    q(z | x) = inference network(z | conditions, summary network(summarised))

Import it after `backend.load`.  bayesflow's own networks are used as they are; written here are
what it has not: stacked recurrent layers over patches of a trace, an MLP, a convolution of patches
(its stride is its width, so it is a matrix product, which a CPU does faster), and a coupling flow of
one parameter.  A summary ends in a layer normalisation,
without which the numbers grow until the conditioner saturates, or is pulled to a normal by
bayesflow's own loss.
"""

from __future__ import annotations

import math
from typing import Any

import bayesflow as bf
import keras
import numpy as np
from bayesflow.networks import SummaryNetwork
from bayesflow.networks.inference.coupling.actnorm import ActNorm
from bayesflow.networks.inference.coupling.invertible_layer import InvertibleLayer
from bayesflow.networks.inference.coupling.layers import SingleCoupling
from keras import ops

from inferkit_bayesflow.config import BayesFlowConfig

STEPS_LEFT = 16
LIMIT = 8.0  # a scale beyond exp(+-LIMIT) is no posterior but a step too far


def approximator(config: BayesFlowConfig, dim: int, kinds: dict[str, str], columns: list[Any]
                 ) -> bf.approximators.ContinuousApproximator:
    """Built for columns of these shapes; conditions first."""
    made = bf.approximators.ContinuousApproximator(
        inference_network=inference(config, dim),
        summary_network=summary(config, list(kinds.values())), standardize=None)
    data = named([np.empty((1, dim), np.float32), *(c[:1] for c in columns)])
    made.build(keras.tree.map_structure(lambda v: tuple(v.shape), data))
    return made


def named(batch: list[Any]) -> dict[str, Any]:
    """Columns (z, conditions, summarised …) under bayesflow's names."""
    z, conditions, *summarised = batch
    data = {"inference_variables": z}
    if conditions.shape[-1]:
        data["inference_conditions"] = conditions
    if len(summarised) == 1:
        data["summary_variables"] = summarised[0]
    elif summarised:
        data["summary_variables"] = {f"s{i}": s for i, s in enumerate(summarised)}
    return data


# -- summaries -----------------------------------------------------------------------------------


def summary(config: BayesFlowConfig, kinds: list[str]) -> SummaryNetwork | None:
    made = [Finished(body(kind, config), config.summary_space) for kind in kinds]
    if len(made) > 1:
        return bf.networks.FusionNetwork({f"s{i}": m for i, m in enumerate(made)})
    return made[0] if made else None


def body(kind: str, c: BayesFlowConfig) -> keras.Layer:
    widths = (c.summary_width,) * c.summary_layers
    if kind == "mlp":
        return MLP(widths, c.summary_dim, c.dropout, c.activation)
    if kind == "cnn":
        return Patches(c)
    if kind in ("lstm", "gru"):
        return Recurrent(kind, c)
    if kind == "time_series":
        return bf.networks.TimeSeriesNetwork(
            summary_dim=c.summary_dim, filters=32, kernel_sizes=max(3, c.patch), strides=c.patch,
            recurrent_dim=c.summary_width, dropout=c.dropout)
    heads = (4,) * c.summary_layers
    # Attention splits its width among its heads.
    embed = tuple(4 * math.ceil(w / 4) for w in widths)
    if kind == "transformer":
        return Patched(c.patch, bf.networks.TimeSeriesTransformer(
            summary_dim=c.summary_dim, embed_dims=embed, num_heads=heads, dropout=c.dropout))
    if kind == "set_transformer":
        return bf.networks.SetTransformer(summary_dim=c.summary_dim, embed_dims=embed,
                                          num_heads=heads, dropout=c.dropout)
    return bf.networks.DeepSet(summary_dim=c.summary_dim, embed_dim=embed[0], depth=c.summary_layers,
                               mlp_widths=embed[:1], dropout=c.dropout)


class Finished(SummaryNetwork):
    """A summary, normalised row by row or pulled towards a normal."""

    def __init__(self, inner: keras.Layer, space: str):
        super().__init__(base_distribution="normal" if space == "normal" else None)
        self.inner = inner
        self.norm = None if space == "normal" else keras.layers.LayerNormalization()

    def call(self, x: Any, training: bool = False, **_: Any) -> Any:
        out = self.inner(x, training=training)
        return out if self.norm is None else self.norm(out)


class MLP(keras.Layer):
    def __init__(self, widths: tuple[int, ...], out: int, dropout: float, activation: str):
        super().__init__()
        self.hidden = [keras.layers.Dense(w, activation=activation, kernel_initializer="he_normal")
                       for w in widths]
        self.dropped = [keras.layers.Dropout(dropout) for _ in widths] if dropout else []
        self.last = keras.layers.Dense(out)

    def call(self, x: Any, training: bool = False) -> Any:
        for i, layer in enumerate(self.hidden):
            x = layer(x)
            if self.dropped:
                x = self.dropped[i](x, training=training)
        return self.last(x)


class Recurrent(keras.Layer):
    """Layers of LSTM or GRU, the last one's last state projected."""

    def __init__(self, kind: str, c: BayesFlowConfig):
        super().__init__()
        cell = keras.layers.LSTM if kind == "lstm" else keras.layers.GRU
        last = c.summary_layers - 1
        self.patch = c.patch
        self.cells = [cell(c.summary_width, return_sequences=i < last, dropout=c.dropout)
                      for i in range(c.summary_layers)]
        self.last = keras.layers.Dense(c.summary_dim)

    def call(self, x: Any, training: bool = False) -> Any:
        x = patches(x, self.patch)
        for cell in self.cells:
            x = cell(x, training=training)
        return self.last(x)


class Patches(keras.Layer):
    """Convolutions whose stride is their width until few steps are left, then an MLP over all."""

    def __init__(self, c: BayesFlowConfig):
        super().__init__()
        self.filters = max(8, c.summary_width // 4)
        self.convolutions: list[keras.Layer] = []
        self.activation = c.activation
        self.head = MLP((c.summary_width,) * c.summary_layers, c.summary_dim, c.dropout,
                        c.activation)

    def build(self, shape: tuple) -> None:
        steps, channels = shape[1], shape[2]
        while steps > STEPS_LEFT:
            steps, channels = math.ceil(steps / 4), self.filters
            self.convolutions.append(keras.layers.Dense(channels, activation=self.activation,
                                                        kernel_initializer="he_normal"))

    def call(self, x: Any, training: bool = False) -> Any:
        for layer in self.convolutions:
            x = layer(patches(x, 4))
        return self.head(ops.reshape(x, (ops.shape(x)[0], -1)), training=training)


class Patched(keras.Layer):
    def __init__(self, patch: int, inner: keras.Layer):
        super().__init__()
        self.patch, self.inner = patch, inner

    def call(self, x: Any, training: bool = False) -> Any:
        return self.inner(patches(x, self.patch), training=training)


def patches(x: Any, size: int) -> Any:
    """(n, steps, channels) as (n, steps / size, size * channels), the end padded with zeros."""
    if size == 1:
        return x
    n, steps, channels = ops.shape(x)
    x = ops.pad(x, [[0, 0], [0, -steps % size], [0, 0]])
    return ops.reshape(x, (n, -(-steps // size), size * channels))


# -- inference -----------------------------------------------------------------------------------


def inference(c: BayesFlowConfig, dim: int) -> bf.networks.InferenceNetwork:
    if c.flow:
        kwargs: dict[str, Any] = {"subnet_kwargs": {"widths": (c.width, c.width), "dropout": c.dropout},
                  "transform_kwargs": {"bins": c.bins} if c.inference == "spline" or dim == 1 else {}}
        made = (OneTarget(c.layers, **kwargs) if dim == 1 else
                bf.networks.CouplingFlow(depth=c.layers, transform=c.inference, **kwargs))
        if c.located:
            made.invertible_layers = [Located(dim, c.summary_width), *made.invertible_layers]
        return made
    subnet = {"widths": (c.width,) * c.layers, "dropout": c.dropout}
    # One solver, without noise, for draws and densities alike: they then belong together.
    solver = {"method": "rk45", "steps": c.solver_steps}
    if c.inference == "flow_matching":
        return bf.networks.FlowMatching(subnet_kwargs=subnet, integrate_kwargs=solver)
    if c.inference == "diffusion":
        return bf.networks.DiffusionModel(subnet_kwargs=subnet, integrate_kwargs=solver)
    return bf.networks.StableConsistencyModel(subnet_kwargs=subnet)


class Located(InvertibleLayer):
    """z -> (z - m(c)) / s(c), learned: the flow behind it works on the posterior's own scale.

    Coupling layers alone reach a posterior a twentieth as wide as the prior slowly, since each layer's
    scale is softly clamped, and a spline's box is around the prior.
    """

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.hidden = [keras.layers.Dense(width, activation="silu") for _ in range(2)]
        self.last = keras.layers.Dense(2 * dim, kernel_initializer="zeros")

    def build(self, xz_shape: tuple, conditions_shape: tuple | None = None) -> None:
        shape = conditions_shape
        for layer in (*self.hidden, self.last):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, xz: Any, conditions: Any = None, inverse: bool = False, training: bool = False
             ) -> tuple[Any, Any]:
        h = conditions
        for layer in self.hidden:
            h = layer(h)
        m, log_s = ops.split(self.last(h), 2, axis=-1)
        log_s = LIMIT * ops.tanh(log_s / LIMIT)
        log_det = ops.sum(log_s, -1)
        if inverse:
            return m + ops.exp(log_s) * xz, log_det
        return (xz - m) * ops.exp(-log_s), -log_det


class OneTarget(bf.networks.CouplingFlow):
    """A coupling flow of one number: its conditioners see the conditions alone.

    bayesflow's coupling splits the targets in two, and cannot have none on one side.  Its layers are
    splines whatever was asked for: affine maps of one number compose to one, and that is a Gaussian.
    """

    def __init__(self, depth: int, **kwargs: Any):
        super().__init__(depth=1, use_actnorm=False, permutation=None)
        self.invertible_layers = [layer for _ in range(depth) for layer in (ActNorm(), Alone(**kwargs))]


class Alone(InvertibleLayer):
    """One half of a coupling, whose other half is empty."""

    def __init__(self, **kwargs: Any):
        super().__init__()
        self.coupling = SingleCoupling(transform="spline", **kwargs)

    def build(self, xz_shape: tuple, conditions_shape: tuple | None = None) -> None:
        empty = (*xz_shape[:-1], 0)
        self.coupling.build(empty, xz_shape, conditions_shape)

    def call(self, xz: Any, conditions: Any = None, inverse: bool = False, training: bool = False
             ) -> tuple[Any, Any]:
        (_, out), log_det = self.coupling(xz[..., :0], xz, conditions=conditions, inverse=inverse,
                                          training=training)
        return out, log_det
