"""The equations of a TVB model and coupling, read from TVB's own definitions.

A model states its derivatives as text (`state_variable_dfuns`), or its `dfun` calls a scalar numba
function, or it is numpy: text is parsed, methods and functions are run on symbols (see `symbolic`).
What has no translation raises `Untranslatable`, and the simulation takes another engine.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit_tvb import expressions as ex
from inferkit_tvb.expressions import Node, Untranslatable
from inferkit_tvb.symbolic import Run, trace, walk
from inferkit_tvb.values import ALIKE, Vector


def attributes(thing: Any, prefix: str, known: Mapping[str, Any]) -> Callable[[str], Any]:
    """How `self.name` reads: a number where its value is known, else a parameter."""

    def attribute(name: str) -> Any:
        path = f"{prefix}.{name}"
        if path in known:
            value = known[path]
            return value if isinstance(value, Node) else ex.number(value)
        value = getattr(thing, name, None)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size == 1:
            return ex.parameter(path)
        if isinstance(value, np.ndarray) and value.size == 1:
            return ex.number(float(value.ravel()[0]))
        if isinstance(value, (bool, int, float, np.number)):
            return ex.number(float(value))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 1:
            return Vector.of(map(ex.number, value))  # a setting, such as a polynomial's coefficients
        if callable(value):
            return value
        raise Untranslatable(f"{path}, a {type(value).__name__}")

    return attribute


def derivatives(model: Any, known: Mapping[str, Any]) -> list[Node]:
    """The derivative of each state variable; `known` gives values of parameters that never change."""
    attribute = attributes(model, "model", known)
    n, m = len(model.state_variables), len(model.cvar)
    told = getattr(model, "state_variable_dfuns", None)
    if told:
        space: dict[str, Any] = {s: ex.state(k) for k, s in enumerate(model.state_variables)}
        space |= {w: ex.coupling(k) for k, w in enumerate(model.coupling_terms)}
        space |= {w: attribute(w) for w in model.parameter_names}
        return [text(told[s], space | {"local_coupling": ex.number(0)}) for s in model.state_variables]
    derived = _derived(model, attribute)
    method = getattr(model.dfun, "__func__", None)  # configure() may have chosen another one
    found = trace(model, lambda name: derived[name] if name in derived else attribute(name), method,
                  [None, Vector.of(map(ex.state, range(n))), Vector.of(map(ex.coupling, range(m))),
                   ex.number(0.0)])
    if not isinstance(found, Vector) or set(found) != set(range(n)):
        raise Untranslatable("a dfun that does not return one derivative a state variable")
    return [found[k] for k in range(n)]


def _derived(model: Any, attribute: Callable) -> dict[str, Any]:
    """What `update_derived_parameters` makes of the others, as expressions of them."""
    from tvb.simulator.models.base import Model

    method = type(model).update_derived_parameters
    if method is Model.update_derived_parameters:
        return {}
    run, _ = walk(model, attribute, method, [None])
    return {k.removeprefix("self."): v for k, v in run.names.items() if k.startswith("self.")}


def text(formula: str, space: Mapping[str, Any]) -> Node:
    """One expression written as text."""
    space = {"pi": ex.number(math.pi), **{n: getattr(np, n, None) for n in ALIKE}, "where": np.where,
             **space}
    return Run(None, lambda name: None, dict(space), {}).value(
        ast.parse(formula.strip(), mode="eval").body)


def observed(name: str, model: Any) -> Node:
    """A variable of interest, "V" or "V + W"."""
    return text(name, {s: ex.state(k) for k, s in enumerate(model.state_variables)})


def couplings(coupling: Any, model: Any, known: Mapping[str, Any]
              ) -> tuple[list[list[tuple[Node, Node]]], Callable[[list[Node]], list[Node]]]:
    """(terms, post): gx_k = sum over terms (f, g) of g(own state) * sum_j w_ij f(state_j, delayed).

    The sum over a region's inputs is of the sources alone, if pre(x_i, x_j) is a sum of products
    g(x_i) f(x_j): sin(x_j - x_i) = sin x_j cos x_i - cos x_j sin x_i, and so on.
    """
    t = __import__("tvb.simulator.coupling", fromlist=["Coupling"])
    cls = type(coupling)
    if cls.__call__ not in (t.Coupling.__call__, t.SparseCoupling.__call__):
        raise Untranslatable(f"the coupling {cls.__name__}, which computes its sums itself")
    attribute = attributes(coupling, "coupling", known)
    own = Vector.of(ex.make("own", value=int(k)) for k in model.cvar)
    source = Vector.of(ex.make("source", value=int(k)) for k in model.cvar)
    pre = trace(coupling, attribute, cls.pre, [None, own, source])
    pre = pre if isinstance(pre, Vector) else Vector.of([pre])
    terms = [separated(pre[k]) for k in sorted(pre)]

    def post(gx: list[Node]) -> list[Node]:
        found = trace(coupling, attribute, cls.post, [None, Vector.of(gx)])
        found = found if isinstance(found, Vector) else Vector.of([found])
        return [found[k] for k in sorted(found)]

    return terms, post


def separated(x: Node) -> list[tuple[Node, Node]]:
    """x as a sum of products f(source) g(own): a list of (f, g)."""
    one = ex.number(1.0)
    if "own" not in x.leaves:
        return [(x, one)]
    if "source" not in x.leaves:
        return [(one, x)]
    if x.op == "+":
        return separated(x.args[0]) + separated(x.args[1])
    if x.op in ("-", "neg"):
        last = [(f, ex.neg(g)) for f, g in separated(x.args[-1])]
        return (separated(x.args[0]) if x.op == "-" else []) + last
    if x.op == "*":
        return [(ex.mul(f, h), ex.mul(g, k)) for f, g in separated(x.args[0])
                for h, k in separated(x.args[1])]
    if x.op in ("sin", "cos") and x.args[0].op in ("+", "-"):
        a, b = x.args[0].args
        if x.args[0].op == "-":
            b = ex.neg(b)
        if ("own" in a.leaves) != ("own" in b.leaves) and ("source" in a.leaves) != ("source"
                                                                                     in b.leaves):
            sa, ca, sb, cb = (ex.call(f, v) for v in (a, b) for f in ("sin", "cos"))
            if x.op == "sin":
                return separated(ex.add(ex.mul(sa, cb), ex.mul(ca, sb)))
            return separated(ex.sub(ex.mul(ca, cb), ex.mul(sa, sb)))
    raise Untranslatable("a coupling of own and other states that does not separate")
