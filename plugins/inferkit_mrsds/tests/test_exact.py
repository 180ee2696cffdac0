"""What must hold to rounding: the chain, the bound, padding, permutations, sums, files."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inferkit_mrsds.analyse.linear import Linear
from inferkit_mrsds.analyse.messages import ablated, terms
from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.data import Trials, given_trials
from inferkit_mrsds.infer import chain, objective
from inferkit_mrsds.infer.objective import Knobs, bound
from inferkit_mrsds.layout import Layout
from inferkit_mrsds.model.model import Model
from inferkit_mrsds.train.fit import to_batch
from scipy import stats

import inferkit as ik
from inferkit.plugins import schema


def config(**values):
    return schema.build(MRSDSConfig, values, "test")


def chain_of(B=2, T=5, K=3, seed=0):
    ks = jax.random.split(jax.random.key(seed), 3)
    return (jax.nn.log_softmax(jax.random.normal(ks[0], (K,))), jax.random.normal(ks[1], (B, T, K)),
            jax.nn.log_softmax(jax.random.normal(ks[2], (B, T - 1, K, K)), -1))


def test_forward_backward_is_the_sum_over_all_paths():
    pi, b, a = (np.asarray(v, float) for v in chain_of())
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
    log_p, log_gamma, _ = chain.smooth(*map(jnp.asarray, (pi, b, a)), jnp.asarray(mask))
    best = chain.viterbi(*map(jnp.asarray, (pi, b, a)), jnp.asarray(mask))
    for i, T in enumerate(mask.sum(1)):
        paths = np.array(list(itertools.product(range(3), repeat=T)))
        score = pi[paths[:, 0]] + b[i, 0, paths[:, 0]]
        for t in range(1, T):
            score = score + a[i, t - 1, paths[:, t - 1], paths[:, t]] + b[i, t, paths[:, t]]
        total = np.log(np.exp(score).sum())
        assert log_p[i] == pytest.approx(total, abs=1e-5)
        weight = np.exp(score - total)
        for t in range(T):
            gamma = [weight[paths[:, t] == k].sum() for k in range(3)]
            assert np.allclose(np.exp(log_gamma[i, t]), gamma, atol=1e-5)
        assert np.array_equal(best[i, :T], paths[score.argmax()])


def test_the_parallel_scan_agrees():
    pi, b, a = chain_of(B=3, T=17, K=4)
    assert np.allclose(chain.forward(pi, b, a), chain.forward_parallel(pi, b, a), atol=1e-4)


def test_sampled_states_follow_gamma():
    pi, b, a = chain_of(B=1)
    mask = jnp.ones((1, 5), bool)
    gamma = np.exp(chain.smooth(pi, b, a, mask)[1])[0]
    alpha = chain.forward(pi, b, a)
    drawn = jax.jit(jax.vmap(lambda k: chain.sample_path(k, alpha, a, mask)[0]))(
        jax.random.split(jax.random.key(1), 4000))
    share = np.stack([(np.asarray(drawn) == k).mean(0) for k in range(3)], -1)
    assert np.abs(share - gamma).max() < 0.04


def test_the_closed_form_of_the_divergence():
    rng = np.random.default_rng(0)
    x = 0.3 + 0.5 * rng.standard_normal(400_000)
    sampled = (stats.norm.logpdf(x, 0.3, 0.5) - stats.norm.logpdf(x, -0.2, 0.8)).mean()
    assert float(objective.gaussian_kl(*map(jnp.asarray, (0.3, 0.5, -0.2, 0.8)))) == pytest.approx(
        sampled, abs=0.01)


KINDS = {"mean-field": {"inference": "mean-field", "K": 2}, "svae": {"inference": "svae", "K": 1},
         "s-svae": {"inference": "s-svae", "K": 2},
         "amortized": {"inference": "s-svae", "K": 3, "objective": {"z_posterior": "amortized"}},
         "control": {"inference": "svae", "K": 1, "objective": {"rollout": "control"}},
         "mean-field K=1": {"inference": "mean-field", "K": 1}}


@pytest.fixture(scope="module")
def linear():
    sim = ik.simulator("linear-gaussian-regions", neurons=[5, 5], edges=["1<0"], bins=12).build()
    return sim.dataset(6, seed=2)


def built(c, data):
    t = given_trials(data)
    layout = Layout.of(t, c.emissions.family, c.d)
    S, R, M = layout.shape
    return t, layout, Model.create(jax.random.key(3), c, S, R, M, t.u.shape[-1])


SLOW = ("control", "mean-field K=1")  # each compiles for itself, and little differs


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in KINDS])
def test_padding_changes_nothing(kind, linear):
    c = config(**KINDS[kind], encoder={"blocks": 1})
    t, layout, model = built(c, linear)
    compiled = jax.jit(lambda batch: bound(model, batch, jax.random.key(5), c))
    found = [compiled(to_batch(layout, v)) for v in (t, t.padded(19))]
    for name in ("elbo", "log_y", "kl"):
        assert np.allclose(*(getattr(f, name) for f in found), rtol=1e-4), name


def test_added_terms_have_gradients(linear):
    """Sampled states, further predictions and penalties change the loss; gradients are finite."""
    added = {"overshoot": 0.5, "horizon": 2, "recon": "mix", "smooth": 1e-3, "message_l21": 0.1,
             "weight_decay": 1e-4}
    plain, all_ = (config(K=2, encoder={"blocks": 0}, objective={"z_posterior": "amortized", **more})
                   for more in ({}, added))
    t, layout, model = built(plain, linear)
    batch, key = to_batch(layout, t), jax.random.key(0)
    first = jax.jit(lambda m: objective.loss(m, batch, key, plain, Knobs(), None)[0])(model)
    value, grads = jax.jit(jax.value_and_grad(
        lambda m: objective.loss(m, batch, key, all_, Knobs(), None)[0]))(model)
    assert abs(float(value - first)) > 1e-3
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert all(jnp.abs(W).max() > 0 for W in grads.generative.dynamics.f.weights)


def test_the_sampled_bound_is_the_closed_one_on_average(linear):
    """K = 1 by states summed out and in closed form have one mean."""
    c = config(**KINDS["mean-field K=1"])
    t, layout, model = built(c, linear)
    batch = to_batch(layout, t)

    def both(key):
        out = bound(model, batch, key, c)
        m = batch.mask.astype(float)
        entropy = ((0.5 * (objective.LOG_2PI + 1) + jnp.log(out.path.scale)).sum((-2, -1)) * m).sum(1)
        return out.kl.sum(), (-(out.b[..., 0] * m).sum(1) - entropy).sum()

    closed, sampled = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(0), 3000))
    assert float(closed.mean()) == pytest.approx(float(sampled.mean()), rel=0.01)


def test_states_summed_out_bound_any_choice_of_them(linear):
    """log p(x) is at least the complete log density under any responsibilities plus their entropy."""
    c = config(inference="mean-field", K=2)
    t, layout, model = built(c, linear)
    out = jax.jit(lambda: bound(model, to_batch(layout, t), jax.random.key(0), c))()
    pi = model.generative.states.start()
    m = jnp.ones(t.mask.shape)
    log_p, log_gamma, _ = chain.smooth(pi, out.b, out.a, jnp.asarray(t.mask))
    r = jnp.full(out.b.shape, 0.5)
    assert (
        objective.complete(pi, out.b, out.a, r, m) + t.mask.shape[1] * np.log(2) <= log_p + 1e-3
    ).all()


@pytest.mark.parametrize("settings", [
    {}, {"zcond": True}, {"communication": "conditional"}, {"communication": "additive-linear"},
    {"residual": False, "input_type": "conditional", "input_layers": [4]}, {"input_func": "together"},
    {"single_latent": True}])
def test_terms_sum_to_the_step(settings, linear):
    c = config(K=2, dynamics=settings)
    t, layout, model = built(c, linear)
    x = jax.random.normal(jax.random.key(0), (6, 12, 2, 2))
    u = jnp.asarray(t.u, jnp.float32)
    mu = model.generative.means(x, u)
    found = terms(model, x, u)
    step = found.own + found.messages.sum(-2) + found.inputs
    assert np.allclose(mu - x[:, :-1], step.reshape(mu.shape), atol=1e-5)
    assert not np.abs(np.einsum("kbtiid->kbtid", found.messages)).any()


def test_conditional_messages_vanish_without_their_source(linear):
    c = config(K=1, inference="svae", dynamics={"communication": "conditional"})
    t, _, model = built(c, linear)
    x = jax.random.normal(jax.random.key(0), (6, 12, 2, 2)).at[:, :, 0].set(0.0)
    found = terms(model, x, jnp.asarray(t.u, jnp.float32)).messages
    assert np.allclose(found[..., 1, 0, :], 0.0, atol=1e-6) and np.abs(found[..., 0, 1, :]).max() > 1e-3


def test_regions_may_be_renumbered(linear):
    """Renumbering regions in weights and data renumbers what comes out."""
    c = config(K=2)
    t, _, model = built(c, linear)
    p = model.generative.dynamics
    x = jax.random.normal(jax.random.key(0), (7, 2, 2))
    u = jnp.ones((7, 1))
    turn = jnp.array([1, 0])

    def turned(v, groups):
        shaped = v.reshape(*groups, *v.shape[1:])
        for axis in range(1, len(groups)):
            shaped = jnp.take(shaped, turn, axis) if groups[axis] == 2 else shaped
        return shaped.reshape(v.shape)

    import equinox as eqx

    other = eqx.tree_at(lambda d: (d.f.weights, d.f.biases, d.g.weights), p, (
        [turned(W, (2, 2, 2)) for W in p.f.weights], [turned(b, (2, 2, 2)) for b in p.f.biases],
        [turned(W, (2, 2, 1)) for W in p.g.weights]))
    assert np.allclose(p.mean(x, u)[:, :, turn], other.mean(x[:, turn], u), atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"zcond": True}, {"communication": "conditional"}])
def test_an_ablated_message_is_constant(settings, linear):
    c = config(K=2, dynamics=settings)
    t, _, model = built(c, linear)
    x = jax.random.normal(jax.random.key(0), (6, 12, 2, 2))
    u = jnp.asarray(t.u, jnp.float32)
    means = np.asarray(terms(model, x, u).messages).mean((1, 2))
    found = terms(ablated(model, 1, 0, means), x, u).messages
    assert np.ptp(found[..., 1, 0, :], axis=(1, 2)).max() < 1e-5
    assert np.allclose(found[..., 0, 1, :], terms(model, x, u).messages[..., 0, 1, :], atol=1e-6)


def test_kalman_is_the_dense_gaussian():
    """The filter with missing entries, against the joint Gaussian of all that was observed."""
    rng = np.random.default_rng(0)
    D, N, T = 2, 3, 4
    m = Linear(
        0.9 * np.eye(D),
        np.ones((D, 1)) * 0.2,
        rng.standard_normal((N, D)),
        np.ones(N),
        0.1 * np.eye(D),
        np.array([0.1, 0.2, 0.3]),
        np.ones(D),
        np.eye(D),
    )
    y, u = rng.standard_normal((1, T, N)), rng.standard_normal((1, T, 1))
    y[0, 1, 2] = y[0, 3, :] = np.nan
    t = Trials(y, u, np.array([T]), np.zeros(1, int), (3,), {})
    mean, cov = [m.m0], np.zeros((T * D, T * D))
    P = [m.P0]
    for k in range(1, T):
        mean.append(m.A @ mean[-1] + m.B @ u[0, k])
        P.append(m.A @ P[-1] @ m.A.T + m.Q)
    for i in range(T):
        for j in range(T):
            low, high = min(i, j), max(i, j)
            block = np.linalg.matrix_power(m.A, high - low) @ P[low]
            cov[i * D : i * D + D, j * D : j * D + D] = block if i >= j else block.T
    big = np.kron(np.eye(T), m.C)
    keep = np.isfinite(y.ravel())
    ymean = (big @ np.concatenate(mean) + np.tile(m.c, T))[keep]
    ycov = (big @ cov @ big.T + np.kron(np.eye(T), np.diag(m.R)))[np.ix_(keep, keep)]
    exact = stats.multivariate_normal.logpdf(y.ravel()[keep], ymean, ycov)
    assert m.log_likelihood(t)[0] == pytest.approx(exact, abs=1e-8)
    gain = cov @ big.T[:, keep] @ np.linalg.inv(ycov)
    smoothed = np.concatenate(mean) + gain @ (y.ravel()[keep] - ymean)
    assert np.allclose(m.smooth(t).ravel(), smoothed, atol=1e-8)


def test_em_climbs(linear):
    t = given_trials(linear)
    climbed = [Linear.fit(t, 4, rounds=r).log_likelihood(t).sum() for r in (1, 3, 10)]
    assert climbed[0] < climbed[1] < climbed[2]


def test_schedules():
    c = config(objective={"beta": 1.0, "beta_start": 100.0, "beta_warmup": 50})
    from inferkit_mrsds.train.loop import knobs, stages

    assert float(knobs(c, 0, 100, False).beta) == pytest.approx(100)
    assert float(knobs(c, 25, 100, False).beta) == pytest.approx(10)
    assert float(knobs(c, 80, 100, False).beta) == pytest.approx(1)
    assert isinstance(knobs(c, 0, 100, False), Knobs)
    stage = stages(c)[0]
    rates = [float(stage.learning_rate(jnp.asarray(s))) for s in (0, 99, 100, 1499)]
    assert rates[0] < rates[1] and rates[2] == pytest.approx(0.01) and rates[3] < 2e-4


@pytest.mark.slow  # a fit until it is close
def test_a_trained_bound_is_below_kalman_and_near_it():
    """Of held-out trials, under the model that made them; and only true edges send messages."""
    made = ik.simulator("linear-gaussian-regions", neurons=[12, 12, 12], bins=60).build()
    engine = ik.estimator("mrsds", K=1, inference="svae", objective={"message_l21": 0.1},
                          training={"steps": 1500, "second_steps": 300}).build().train(
        made.dataset(120, seed=0), seed=0)
    t = engine.held_out
    units = np.log(engine.layout.scale[0]).sum()  # the bound is of standardised activity
    exact = Linear.of(made.exact()).log_likelihood(t).sum() / t.mask.sum()
    reached = engine.elbo(t, n=16).sum() / t.mask.sum() - units
    assert -0.002 * abs(exact) < exact - reached < 0.02 * abs(exact)
    share = engine.messages().share
    edges = np.zeros((3, 3), bool)
    for to, source in made.config.pairs():
        edges[to, source] = True
    assert np.nansum(share[~edges]) < 0.05
