"""The generated part of a kernel: one step of one node, as C on vectors.

With x the states, c the coupling (held over a step), D the noise's dispersion, xi normal,

    Heun:   x~ = x + dt f(x, c) + n + dt u,    x' = x + dt/2 (f(x, c) + f(x~, c)) + n + dt u
    Euler:  x' = x + dt f(x, c) + n + dt u,    n = sqrt(2 D dt) xi

each clipped to the model's bounds, as TVB's integrators do.  In single precision x' is a compensated
sum (Kahan): what rounding took from one step is given to the next, so that slow variables, whose steps
are near the last digit, move as they should.  What depends on parameters alone is
computed before the loop; each statement is written once for each of the U vectors of a group, so that
their latencies overlap.
"""

# A formula is used before the loop that made it goes on:
# ruff: noqa: B023

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inferkit_tvb import expressions as ex
from inferkit_tvb.expressions import Node

_C = {"exp": "vexp", "log": "vlog", "sin": "vsin", "cos": "vcos", "tanh": "vtanh", "sqrt": "vsqrt",
      "abs": "vabs", "pow": "vpow", "max": "vmax", "min": "vmin", "erfc": "verfc", "atan2": "vatan2"}


@dataclass(frozen=True)
class Equations:
    """All that a kernel computes.  `sources`: what other nodes see, a function of their states.
    `inputs`: the coupling variables, of gx_k (`sum` k) and own states.  `observed`: what monitors
    sample; `summed`: what they average, an entry a monitor.
    """

    states: tuple[str, ...]
    derivatives: tuple[Node, ...]
    sources: tuple[Node, ...]
    inputs: tuple[tuple[int, Node], ...]
    observed: tuple[Node, ...]
    summed: tuple[int, ...]  # indices into observed
    bounds: tuple[tuple[int, float, float], ...]
    noisy: tuple[int, ...]
    stimulated: tuple[int, ...]
    heun: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        every = (*self.derivatives, *self.sources, *(e for _, e in self.inputs), *self.observed)
        names = set().union(*(ex.reach(e, "parameter") for e in every))
        names |= {f"noise.{k}" for k in self.noisy}
        if self.stimulated:
            names.add("stimulus.weight")
        return tuple(sorted(names))


class Writer:
    """Writes expressions as statements, U times each, and remembers what it has."""

    def __init__(self, u: int, parameters: Sequence[str], double: bool):
        self.u, self.parameters, self.double = u, list(parameters), double
        self.lines: list[str] = []
        self.known: dict[tuple[Node, str], str] = {}
        self.count = 0

    def new(self, formula: Callable[[int], str], mask: bool = False) -> str:
        name = f"t{self.count}"
        self.count += 1
        for k in range(self.u):
            self.lines.append(f"{'I' if mask else 'V'} {name}_{k} = {formula(k)};")
        return name

    def literal(self, value: float) -> str:
        text = repr(float(value))
        text = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}.get(text, text)
        return text if self.double or text[-1] in "YN" else f"{text}f"

    def write(self, x: Node, leaves: dict[str, Callable[[Any], str]], tag: str) -> str:
        """The name of x's value; `tag` tells apart values at different states."""
        key = (x, "" if ex.fixed(x) else tag if "state" in x.leaves else "held")
        if key not in self.known:
            self.known[key] = self._write(x, leaves, tag)
        return self.known[key]

    def _write(self, x: Node, leaves: dict[str, Callable[[Any], str]], tag: str) -> str:
        if x.op == "number":
            return self.new(lambda k: f"SPLAT({self.literal(x.value)})")
        if x.op == "parameter":
            q = self.parameters.index(x.value)
            return self.new(lambda k: f"LOAD(P[{q}] + {k} * W)")
        if x.op in leaves:
            return leaves[x.op](x.value)
        # A number needs no vector of its own in arithmetic.
        args = [None if a.op == "number" and x.op in "+-*/" else self.write(a, leaves, tag)
                for a in x.args]

        def arg(i: int, k: int) -> str:
            name = args[i]
            return f"{name}_{k}" if name else f"({self.literal(x.args[i].value)})"

        if x.op == "neg":
            return self.new(lambda k: f"-{arg(0, k)}")
        if x.op in ("+", "-", "*", "/"):
            return self.new(lambda k: f"{arg(0, k)} {x.op} {arg(1, k)}")
        if x.op == "select":
            return self.new(lambda k: f"sel({arg(0, k)}, {arg(1, k)}, {arg(2, k)})")
        if x.op in ("and", "or"):
            return self.new(lambda k: f"{arg(0, k)} {'&' if x.op == 'and' else '|'} {arg(1, k)}", True)
        if x.op == "not":
            return self.new(lambda k: f"~{arg(0, k)}", True)
        if x.op in ex.BOOLEAN:
            return self.new(lambda k: f"{arg(0, k)} {x.op} {arg(1, k)}", True)
        return self.new(lambda k: f"{_C[x.op]}({', '.join(arg(i, k) for i in range(len(args)))})")


def source(eq: Equations, prelude: str, runtime: str, double: bool) -> str:
    """The whole C file."""
    seen = set().union(*(ex.reach(f, "state") for f in eq.sources)) if eq.sources else set()
    sizes = {"NV": len(eq.states), "NS": len(eq.sources), "NP": len(eq.parameters),
             "NZ": len(eq.noisy), "NO": len(eq.observed), "NSUM": len(eq.summed),
             "SEEN": hex(sum(1 << k for k in seen))}
    parts = [prelude, *(f"#define {k} {v}" for k, v in sizes.items())]
    for u in (1, 2):
        parts += ["#undef U\n#undef FN\n#undef L",
                  f"#define U {u}\n#define L (U * W)\n#define FN(x) x##_{u}",
                  generated(eq, u, double), runtime]
    return "\n".join(parts)


def generated(eq: Equations, u: int, double: bool) -> str:
    return "\n".join([_bound(eq, u, double), _streams(eq, u, double), _observe(eq, u, double),
                      _advance(eq, u, double)])


def _function(head: str, lines: list[str]) -> str:
    return f"static void FN({head} {{\n" + "\n".join(f"    {line}" for line in lines) + "\n}\n"


def _states(eq: Equations, w: Writer) -> dict[int, str]:
    return {v: w.new(lambda k, v=v: f"LOAD(x + {v} * L + {k} * W)") for v in range(len(eq.states))}


def _clip(w: Writer, name: str, low: float, high: float) -> str:
    for word, value in ((">", high), ("<", low)):
        if abs(value) < 1e300:
            old, limit = name, w.literal(value)
            name = w.new(lambda k: f"sel({old}_{k} {word} {limit}, SPLAT({limit}), {old}_{k})")
    return name


def _bound(eq: Equations, u: int, double: bool) -> str:
    w = Writer(u, eq.parameters, double)
    for v, low, high in eq.bounds:
        name = _clip(w, w.new(lambda k: f"LOAD(x + {v} * L + {k} * W)"), low, high)
        w.lines += [f"STORE(x + {v} * L + {k} * W, {name}_{k});" for k in range(u)]
    return _function("bound)(real *x)", w.lines)


def _streams(eq: Equations, u: int, double: bool) -> str:
    w = Writer(u, eq.parameters, double)
    x = _states(eq, w)
    for q, f in enumerate(eq.sources):
        name = w.write(f, {"state": x.__getitem__}, "x")
        w.lines += [f"STORE(out + {q} * L + {k} * W, {name}_{k});" for k in range(u)]
    return _function("streams)(const real *x, const real *const *P, real *out)", w.lines)


def _observe(eq: Equations, u: int, double: bool) -> str:
    w = Writer(u, eq.parameters, double)
    x = _states(eq, w)
    for q, f in enumerate(eq.observed):
        name = w.write(f, {"state": x.__getitem__}, "x")
        w.lines += [f"STORE(y + {q} * L + {k} * W, {name}_{k});" for k in range(u)]
    return _function("observe)(const real *x, const real *const *P, real *y)", w.lines)


def _invariant(w: Writer, expressions: Sequence[Node], seen: set[Node]) -> None:
    """Write what depends on parameters alone, largest parts first."""
    for x in expressions:
        if x.op == "number" or x in seen:
            continue
        seen.add(x)
        if ex.fixed(x):
            w.write(x, {}, "")
        else:
            _invariant(w, x.args, seen)


def _advance(eq: Equations, u: int, double: bool) -> str:
    w = Writer(u, eq.parameters, double)
    real = w.literal
    _invariant(w, [*eq.derivatives, *eq.sources, *(e for _, e in eq.inputs), *eq.observed], set())
    noise = {v: w.write(ex.parameter(f"noise.{v}"), {}, "") for v in eq.noisy}
    weight = w.write(ex.parameter("stimulus.weight"), {}, "") if eq.stimulated else ""
    before, w.lines = w.lines, []
    body_states = {v: f"x{v}" for v in range(len(eq.states))}
    for v in range(len(eq.states)):
        before += [f"V x{v}_{k} = LOAD(x + {v} * L + {k} * W);" for k in range(u)]
    if not double:
        for v in range(len(eq.states)):
            before += [f"V e{v}_{k} = LOAD(x + ({v} + NV) * L + {k} * W);" for k in range(u)]
    for a in range(len(eq.summed)):
        before += [f"V m{a}_{k} = LOAD(sums + {a} * L + {k} * W);" for k in range(u)]

    gx = {q: w.new(lambda k: f"LOAD(A + {q} * AK + k * L + {k} * W)") for q in range(len(eq.sources))}
    own = {"state": body_states.__getitem__, "sum": gx.__getitem__}
    c = {number: w.write(e, own, "x") for number, e in eq.inputs}
    n = {v: w.new(lambda k: f"{noise[v]}_{k} * LOAD(z + (k * NZ + {i}) * L + {k} * W)")
         for i, v in enumerate(eq.noisy)}
    push = {}
    if eq.stimulated:
        push = {v: w.new(lambda k: f"{weight}_{k} * (dt * stim[k])") for v in eq.stimulated}

    def stage(x: dict[int, str], tag: str) -> list[str]:
        return [w.write(d, {"state": x.__getitem__, "coupling": c.__getitem__}, tag)
                for d in eq.derivatives]

    def plus(v: int, k: int) -> str:
        extra = [f" + {part[v]}_{k}" for part in (n, push) if v in part]
        return "".join(extra)

    bounds = {v: (low, high) for v, low, high in eq.bounds}
    first = stage(body_states, "x")
    new: list[str] = []
    if eq.heun:
        guess = {}
        for v, d in enumerate(first):
            name = w.new(lambda k: f"x{v}_{k} + {d}_{k} * dt{plus(v, k)}")
            guess[v] = _clip(w, name, *bounds[v]) if v in bounds else name
        second = stage(guess, "guess")
        steps = [w.new(lambda k: f"({a}_{k} + {b}_{k}) * (dt * {real(0.5)}){plus(v, k)}")
                 for v, (a, b) in enumerate(zip(first, second))]
    else:
        steps = [w.new(lambda k: f"{d}_{k} * dt{plus(v, k)}") for v, d in enumerate(first)]
    for v, step in enumerate(steps):
        if not double:
            bare = step
            step = w.new(lambda k: f"{bare}_{k} + e{v}_{k}")
        name = w.new(lambda k: f"x{v}_{k} + {step}_{k}")
        if not double:
            w.lines += [f"e{v}_{k} = {step}_{k} - ({name}_{k} - x{v}_{k});" for k in range(u)]
        new.append(name)
    new = [_clip(w, name, *bounds[v]) if v in bounds else name for v, name in enumerate(new)]
    then = dict(enumerate(new))
    for q, f in enumerate(eq.sources):
        name = w.write(f, {"state": then.__getitem__}, "new")
        w.lines += [f"STORE(out[{q}] + k * L + {k} * W, {name}_{k});" for k in range(u)]
    for a, q in enumerate(eq.summed):
        name = w.write(eq.observed[q], {"state": then.__getitem__}, "new")
        w.lines += [f"m{a}_{k} += {name}_{k};" for k in range(u)]
    for v, name in then.items():
        w.lines += [f"x{v}_{k} = {name}_{k};" for k in range(u)]
    after = [f"STORE(x + {v} * L + {k} * W, x{v}_{k});" for v in range(len(eq.states)) for k
             in range(u)]
    if not double:
        after += [f"STORE(x + ({v} + NV) * L + {k} * W, e{v}_{k});"
                  for v in range(len(eq.states)) for k in range(u)]
    after += [f"STORE(sums + {a} * L + {k} * W, m{a}_{k});"
              for a in range(len(eq.summed)) for k in range(u)]
    loop = ["for (long k = 0; k < len; k++) {", *(f"    {line}" for line in w.lines), "}"]
    return _function(
        "advance)(long len, const real *restrict A, long AK, real *restrict x,\n"
        "        const real *const *P, const real *restrict z, const real *restrict stim, real dt,\n"
        "        real *const *out, real *restrict sums)", [*before, *loop, *after])
