"""Networks in plain Brian2, one for each row; and what both ways ask of the user's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit.errors import SimulatorError, unknown_name
from inferkit_brian2 import watch
from inferkit_brian2.quantities import base_unit, quantity, unit


class RowByRow:
    """Plain Brian2, a network a row; Brian2's own generator is seeded with the row's seed."""

    def __init__(self, owner: Any, why: str = ""):
        from inferkit_brian2.runtime import cython_works

        self.owner = owner
        self.target = (
            owner.engine
            if owner.engine in ("cython", "numpy")
            else ("cython" if cython_works() else "numpy")
        )
        self.note = f"engine {self.target}, row by row{why}"

    def run(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        parts = [self.one({k: v[i] for k, v in theta.items()}, s) for i, s in enumerate(seeds)]
        return {k: watch.joined([p[k] for p in parts]) for k in parts[0]}

    def one(self, theta: Mapping[str, float], row_seed: np.uint64) -> dict[str, Any]:
        import brian2

        from inferkit_brian2.runtime import preferences, runtime_device

        runtime_device()
        brian2.start_scope()
        owner = self.owner
        with preferences(self.target):
            brian2.seed(int(row_seed % np.uint64(2**32)))
            si = {
                p.name: theta[p.name] * brian2.Quantity(unit(p.unit, p.name)) for p in owner.parameters
            }
            if owner.build is not None:
                net = owner.build(si)
                if not isinstance(net, brian2.Network):
                    raise SimulatorError(f"build returned {type(net).__name__}", allowed="a Network")
            else:
                net, begin = built(owner, 1, {k: theta[k] for k in owner.structural})
                groups = {o.name: o for o in net.sorted_objects}
                for name, given in owner.defaults:
                    if name not in owner.structural:
                        variable(groups, name, given).get_value()[:] = float(si[name])
                if begin is not None:
                    begin()
            net.run(owner.seconds * brian2.second, namespace={})
        groups = {o.name: o for o in net.sorted_objects}
        lost = np.zeros(1, bool)
        for group in groups.values():
            for v in getattr(getattr(group, "equations", None), "diff_eq_names", ()):
                if type(group).__name__ == "NeuronGroup":
                    lost |= not np.isfinite(group.variables[v].get_value()).all()
        return {
            w.name: w.rows(lambda k: np.asarray(w.find(groups).variables[k].get_value()), 1, lost, 1)  # noqa: B023
            for w in owner.watches
        }


def built(owner: Any, n: int, structural: Mapping[str, float]) -> tuple[Any, Callable | None]:
    """The user's network of n copies, and what to do once parameters are set."""
    import brian2

    made = owner.batch(n, **structural)
    net, begin = made if isinstance(made, tuple) else (made, None)
    if not isinstance(net, brian2.Network):
        raise SimulatorError(
            f"batch returned {type(net).__name__}", allowed="a Network, or (Network, begin)"
        )
    return net, begin


def variable(groups: Mapping[str, Any], name: str, given: Any) -> Any:
    """The Brian2 variable that "group.variable" names, its unit checked against the default's."""
    owner, _, attribute = name.rpartition(".")
    if owner not in groups:
        raise unknown_name(
            f"group {owner!r} of parameter",
            name,
            [
                f"{g}.{v}"
                for g, o in groups.items()
                if hasattr(o, "variables") and hasattr(o, "equations")
                for v in getattr(o.equations, "parameter_names", ())
            ],
            SimulatorError,
        )
    group = groups[owner]
    if attribute not in getattr(getattr(group, "equations", None), "parameter_names", ()):
        raise unknown_name(
            "parameter",
            name,
            [f"{owner}.{v}" for v in getattr(getattr(group, "equations", None), "parameter_names", ())],
            SimulatorError,
        )
    if type(group).__name__ != "NeuronGroup":
        raise SimulatorError(
            f"{name} is of a {type(group).__name__}",
            allowed="of a NeuronGroup",
            fix="let synapses read a constant of the group: ge_post += w_post",
        )
    quantity(
        given,
        f"parameters: {name}",
        group.equations[attribute].dim,
        f"1 {base_unit(group.equations[attribute].dim)}".strip(),
    )
    return group.variables[attribute]
