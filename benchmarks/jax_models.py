"""Networks and fields on JAX beside vbjax, in one run.

    python benchmarks/jax_models.py speed           # 164 MPR nodes, 288 parameter sets x 1,000 steps
    python benchmarks/jax_models.py dense           # the same with a dense connectome
    python benchmarks/jax_models.py memory          # a sweep of 10,000 sets, peak memory
    python benchmarks/jax_models.py scaling         # cost by nodes, batch, steps, delays
    python benchmarks/jax_models.py field           # NUTS on a field's 2,048 initial values

vbjax's way is that of its bench_vmap: sum coupling, make_sde, one noise array shared by all sets, the
trajectory stored and reduced to a standard deviation, pmap over devices of vmap over sets.  inferkit
runs one process a core.  Runs are interleaved, processes pinned; medians of five.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import subprocess
import sys
import time

import numpy as np

NODES, SETS, STEPS = 164, 288, 1000
CORES = len(os.sched_getaffinity(0))


def grid(sets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coupling, noise and excitability of bench_vmap, as far as they stay finite."""
    log_k, eta = np.mgrid[-9.0:-4.0:8j, -5.0:-6.0:36j]
    return tuple(np.resize(v, sets) for v in (np.exp(log_k.ravel()), np.full(SETS, 0.2), eta.ravel()))


def peer(cores: int):
    """bench_vmap's statements."""
    with contextlib.redirect_stdout(io.StringIO()):
        import jax
        import vbjax as vb

    def net(x, p):
        r, v = x
        k, _, mpr_p = p
        c = k * r.sum(), k * v.sum()
        return vb.mpr_dfun(x, c, mpr_p)

    def noise(_, p):
        return p[1]

    _, loop = vb.make_sde(0.01, net, noise)
    rv0, zs = vb.randn(2, NODES), vb.randn(STEPS, 2, NODES)

    def run(pars):
        k, sig, eta = pars
        xs = loop(rv0, zs, (k, sig, vb.mpr_default_theta._replace(eta=eta)))
        return xs[400:, 0].std()

    pars = np.stack(grid(SETS)).reshape(3, cores, -1)
    many = jax.pmap(jax.vmap(run, in_axes=1), in_axes=1)
    return lambda: many(pars).block_until_ready()


def ours(sets: int = SETS, **settings):
    import inferkit as ik
    from inferkit import seeds

    net = ik.simulator("vbjax", **{
        "mass": "mpr", "nodes": NODES, "connectome": {"r": "all", "V": "all"}, "dt": 0.01,
        "transient": 4.0, "duration": 6.0, "sigma": 0.1, "batch": 48, "monitors": [{"kind": "std"}],
        **settings}).build()
    k, sigma, eta = grid(sets)
    theta = {"coupling.k": k, "noise.sigma": sigma, "model.eta": eta, "model.cv": np.ones(sets)}
    rows = seeds.row_seeds(1, 0, np.arange(sets))
    return lambda: net.simulate(theta, rows)


VARIANTS = {
    "vbjax, one shared noise": peer,
    "inferkit, one shared noise": lambda cores: ours(SETS // cores, noise_seed=1),
    "inferkit, own noise": lambda cores: ours(SETS // cores),
}


def worker(name: str, cores: int) -> None:
    """Runs once for every line it reads; prints seconds."""
    run = VARIANTS[name](cores)
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


def started(name: str, cores: list[int]) -> list[subprocess.Popen]:
    """vbjax: one process on all cores; inferkit: one a core, as its local executor has it."""
    sets = [cores] if name.startswith("vbjax") else [[c] for c in cores]
    devices = len(cores) if name.startswith("vbjax") else 1
    env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return [subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, at)), sys.executable, __file__, "worker", name,
         str(len(cores))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        for at in sets]


def told(process: subprocess.Popen) -> str:
    """The next line that is the worker's own; vbjax prints too."""
    for line in process.stdout:
        if line.startswith("ready") or line[:1].isdigit():
            return line
    raise RuntimeError("a worker ended")


def speed() -> None:
    print("| cores | | Miter/s | ratio |")
    print("|---|---|---|---|")
    for cores in sorted({1, CORES}):
        taken: dict[str, list[float]] = {name: [] for name in VARIANTS}
        going = {n: started(n, sorted(os.sched_getaffinity(0))[:cores]) for n in VARIANTS}
        for process in sum(going.values(), []):
            told(process)
        for _ in range(5):
            for name, processes in going.items():
                for process in processes:
                    process.stdin.write("go\n")
                    process.stdin.flush()
                taken[name].append(max(float(told(p)) for p in processes))
        for process in sum(going.values(), []):
            process.stdin.close()
            process.wait()
        base = np.median(taken["vbjax, one shared noise"])
        for name, seconds in taken.items():
            rate = SETS * STEPS / np.median(seconds) / 1e6
            print(f"| {cores} | {name} | {rate:.2f} | {base / np.median(seconds):.1f} |", flush=True)


def dense() -> None:
    """A dense connectome: a matrix product over (nodes, sets)."""
    weights = np.random.default_rng(0).random((NODES, NODES))
    np.fill_diagonal(weights, 0)
    for batch in (32, 96, 288):
        run = ours(batch, connectome=(weights / NODES).tolist(), batch=batch)
        run()
        seconds = np.median([timed(run) for _ in range(3)])
        print(f"dense, batch {batch}: {batch * STEPS / seconds / 1e6:.2f} Miter/s")


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def memory() -> None:
    """10,000 sets of 1,000 steps with noise of their own, in this process."""
    import inferkit as ik
    from inferkit import seeds

    n = 10_000
    net = ik.simulator("vbjax", nodes=NODES, connectome="all", dt=0.01, transient=4.0, duration=6.0,
                       sigma=0.1, batch=256, monitors=[{"kind": "std"}]).build()
    k, sigma, eta = grid(n)
    theta = {"coupling.k": k, "noise.sigma": sigma, "model.eta": eta}
    start = time.perf_counter()
    made = net.simulate(theta, seeds.row_seeds(1, 0, np.arange(n)))["std"]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{n:,} sets, finite {np.isfinite(made).mean():.3f}, {seconds:.0f} s "
          f"({n * STEPS / seconds / 1e6:.2f} Miter/s), peak {peak:,.0f} MB")


def scaling() -> None:
    """Milliseconds a step and simulation-steps a second, one thing varied at a time."""
    import inferkit as ik
    from inferkit import seeds

    def cost(nodes=76, batch=64, steps=1000, delays=0.0, gradient=False):
        rng = np.random.default_rng(0)
        w = rng.random((nodes, nodes)) / nodes
        lengths = {"lengths": (rng.random((nodes, nodes)) * delays * 10).tolist()} if delays else {}
        net = ik.simulator("vbjax", connectome=w.tolist(), dt=0.1, duration=steps * 0.1, sigma=0.1,
                           batch=batch, monitors=[{"kind": "std"}], **lengths).build()
        if gradient:
            import jax

            f = net.jax_function()
            g = jax.jit(jax.grad(lambda k: f({"coupling.k": k}, jax.random.key(0))["std"].sum()))
            run = lambda: g(0.1).block_until_ready()  # noqa: E731
        else:
            rows = seeds.row_seeds(1, 0, np.arange(batch))
            run = lambda: net.simulate({}, rows)  # noqa: E731
        run()
        return np.median([timed(run) for _ in range(3)]) / steps * 1e6

    print("| varied | us a step of the batch |\n|---|---|")
    for name, values in {"nodes": (19, 76, 304), "batch": (1, 16, 64, 256), "steps": (250, 1000, 4000),
                         "delays": (0.0, 1.0, 10.0)}.items():
        for value in values:
            print(f"| {name} = {value} | {cost(**{name: value}):.1f} |", flush=True)
    print(f"| one set | {cost(batch=1):.1f} |\n| one set's gradient | {cost(gradient=True):.1f} |")


def field() -> None:
    """vbjax's test of field inference: 32 x 64 initial values, 100 frames, noise of 1.

    Beside it, its gradient in vbjax's own formulation, timed in the same run.
    """
    import jax
    import jax.numpy as jnp

    import inferkit as ik

    rng = np.random.default_rng(0)
    f = ik.simulator("vbjax-field", mass="linear", nlat=32, lmax=31, kernel="vbjax", sigma=0.0,
                     dt=0.01, duration=1.0, initial={"x": "grid"},
                     defaults={"model.tau": 1.0, "coupling.k": 1.0},
                     monitors=[{"kind": "subsample", "name": "x"}])
    x0 = rng.standard_normal((32, 64))
    x0[:15, :15] = 3.0
    clean = f.build().simulate({"initial.x": x0[None]}, seeds=[0])["x"][0]
    data = clean + rng.standard_normal(clean.shape)

    with contextlib.redirect_stdout(io.StringIO()):
        import vbjax as vb
    lc = vb.make_shtdiff(nlat=32, lmax=31, nlon=64)
    _, loop = vb.make_ode(0.01, lambda x, k: -x + k * lc(x))
    steps, seen = jnp.arange(100), jnp.asarray(data, jnp.float32)
    run = f.build().jax_function()
    slopes = {
        "vbjax": jax.jit(jax.grad(lambda x: jnp.sum((loop(x, steps, 1.0) - seen) ** 2) / 2)),
        "inferkit": jax.jit(jax.grad(
            lambda x: jnp.sum((run({"initial.x": x}, jax.random.key(0))["x"] - seen) ** 2) / 2)),
    }
    start = jnp.asarray(x0, jnp.float32)
    for g in slopes.values():
        g(start).block_until_ready()
    # vbjax leaves out order m = lmax = 31: compared without it
    gap = np.fft.rfft(np.asarray(slopes["vbjax"](start) - slopes["inferkit"](start)), axis=1)
    gap[:, 31] = 0
    gap = np.abs(np.fft.irfft(gap, axis=1)).max()
    taken: dict[str, list[float]] = {n: [] for n in slopes}
    for _ in range(15):
        for name, g in slopes.items():
            taken[name].append(timed(lambda g=g: g(start).block_until_ready()))
    for name, seconds in taken.items():
        print(f"gradient, {name}: {1e3 * np.median(seconds):.2f} ms")
    print(f"the gradients differ by {gap:.2g} of {np.abs(slopes['vbjax'](start)).max():.3g} at most")

    for mass, warmup in (("diagonal", 300), ("unit", 100)):
        study = ik.Study(f, ik.Prior({"initial.x": ik.Normal(0.0, 1.0, shape=(32, 64))}),
                         path=f"runs/field-{os.getpid()}-{mass}", seed=1, observed=data, quiet=True,
                         estimator=ik.estimator("nuts", scale=1.0, mass=mass, precision="single",
                                                chains=1, warmup=warmup, draws=500))
        wall, cpu = time.perf_counter(), time.process_time()
        posterior = study.fit()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        info, draws = posterior.info, posterior.sample(500)["initial.x"]
        ess = np.array(list(info["ess"].values()))
        print(f"NUTS, {mass} mass: {wall:.0f} s, {cpu:.0f} CPU s with warm-up and compiling, "
              f"{info['gradients']:,} gradients while sampling, {info['divergences']} divergences, "
              f"R-hat at most {max(info['rhat'].values()):.3f}")
        print(f"  ESS min {ess.min():.0f}, median {np.median(ess):.0f}: {ess.min() / cpu:.2f} a CPU "
              f"second (min), {ess.min() / info['gradients']:.3f} a gradient; shrinkage min "
              f"{(1 - draws.var(0)).min():.2f}, z-score max "
              f"{(np.abs(draws.mean(0) - x0) / draws.std(0)).max():.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker(sys.argv[2], int(sys.argv[3]))
    else:
        globals()[sys.argv[1]]()
