"""TVB by its own API, written without inferkit: what the engines are compared with."""

import warnings

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tvb.datatypes.connectivity import Connectivity
    from tvb.simulator import coupling, integrators, models, monitors, noise, simulator

from inferkit_tvb import connectome

# model -> (dt, coupling, its parameters)
MODELS = {
    "MontbrioPazoRoxin": (0.05, "Linear", {"a": 0.1}),
    "Kuramoto": (0.1, "Kuramoto", {"a": 0.3}),
    "Generic2dOscillator": (0.1, "Linear", {"a": 0.05}),
    "SupHopf": (0.1, "Difference", {"a": 0.2}),
    "JansenRit": (0.1, "SigmoidalJansenRit", {"a": 10.0}),
    "Epileptor": (0.05, "Difference", {"a": 1.0}),
    "Epileptor2D": (0.05, "Difference", {"a": 1.0}),
    "EpileptorRestingState": (0.05, "Difference", {"a": 0.5}),
    "ReducedWongWang": (0.1, "Linear", {"a": 0.02}),
    "ReducedWongWangExcInh": (0.1, "Linear", {"a": 0.02}),
    "DecoBalancedExcInh": (0.1, "Linear", {"a": 0.02}),
    "WilsonCowan": (0.1, "Sigmoidal", {"a": 1.0}),
    "Linear": (0.1, "HyperbolicTangent", {"a": 0.01}),
    "CoombesByrne2D": (0.05, "Scaling", {"a": 0.01}),
    "LarterBreakspear": (0.1, "HyperbolicTangent", {"a": 0.1}),
    "Hopfield": (0.1, "Linear", {"a": 0.1}),
    "CoombesByrne": (0.05, "Linear", {"a": 0.01}),
    "GastSchmidtKnosche_SD": (0.05, "Linear", {"a": 0.1}),
    "GastSchmidtKnosche_SF": (0.05, "Linear", {"a": 0.1}),
    "DumontGutkin": (0.05, "Linear", {"a": 0.01}),
    "EpileptorCodim3": (0.05, "Difference", {"a": 0.1}),
    "EpileptorCodim3SlowMod": (0.05, "Difference", {"a": 0.1}),
    "ZetterbergJansen": (0.1, "Linear", {"a": 0.1}),
    "KIonEx": (0.05, "Linear", {"a": 0.1}),
    "ZerlautAdaptationFirstOrder": (0.1, "Linear", {"a": 0.1}),
    "ZerlautAdaptationSecondOrder": (0.1, "Linear", {"a": 0.1}),
}
MODEL_VALUES = {"Epileptor": {"Ks": -0.5, "Kf": 0.2, "Kvf": 0.1}, "Epileptor2D": {"Ks": -0.5},
                "EpileptorRestingState": {"Ks": -0.2, "Kf": 0.1}}
REGIONS, LENGTH, SPEED = 12, 20.0, 3.0


def initial(model, seed=0):
    """A state (variables, regions) within the model's ranges."""
    rng = np.random.default_rng(seed)
    m = getattr(models, model)()
    rows = []
    for s in m.state_variables:
        low, high = np.asarray(m.state_variable_range[s], float)
        middle, half = (low + high) / 2, (high - low) / 2
        rows.append(middle + 0.3 * half * rng.uniform(-1, 1, REGIONS))
    return np.array(rows, np.float32).astype(float)  # the same start in both precisions


def run(model, delays=True, scheme="HeunDeterministic", length=LENGTH, monitor=None, values=None,
        start=None, dt=None, coupling_values=None):
    """[(time, y)] of Simulator.run from a constant history; Raw alone keeps its clock at zero."""
    step, kind, given = MODELS[model]
    step = dt or step
    c = connectome.synthetic(REGIONS)
    space = Connectivity(weights=c.weights, tract_lengths=c.lengths * bool(delays), centres=c.centres,
                         region_labels=np.array(c.labels), speed=np.array([SPEED]))
    m = getattr(models, model)(**{k: np.atleast_1d(np.asarray(v, float)) for k, v in
                                  (MODEL_VALUES.get(model, {}) | (values or {})).items()})
    m.variables_of_interest = m.state_variables if set(m.state_variables) <= set(
        type(m).variables_of_interest.element_choices or ()) else m.variables_of_interest
    pair = getattr(coupling, kind)(**{k: np.array([v]) for k, v in (coupling_values or given).items()})
    integrator = getattr(integrators, scheme)(dt=step)
    if hasattr(integrator, "noise"):
        integrator.noise = noise.Additive(nsig=np.array([0.0]))
    space.configure()
    space.set_idelays(step)
    state = initial(model) if start is None else start
    history = np.repeat(state[None, :, :, None], space.horizon, 0)
    sim = simulator.Simulator(model=m, connectivity=space, coupling=pair, integrator=integrator,
                              monitors=monitor or [monitors.Raw()], initial_conditions=history,
                              simulation_length=length)
    sim.configure()
    sim.current_step = 0  # Simulator counts a given history as time gone by
    if monitor:
        sim.history.buffer[:] = np.repeat(sim.current_state[sim.model.cvar][None], space.horizon, 0)
    return sim.run()


def settings(model, delays=True, scheme="HeunDeterministic", length=LENGTH, **more):
    """The same simulation as settings of inferkit."""
    step, kind, given = MODELS[model]
    m = getattr(models, model)()
    voi = [s for s in m.state_variables
           if s in (type(m).variables_of_interest.element_choices or m.variables_of_interest)]
    told = dict(model=model, coupling=kind, dt=step, delays=delays, integrator=scheme, noise=0.0,
                duration=length, connectivity=f"synthetic-{REGIONS}", speed=SPEED,
                initial=initial(model).tolist(),
                monitors=[{"kind": "Raw", "variables": voi if len(voi) == len(m.state_variables)
                           else []}],
                defaults={f"coupling.{k}": v for k, v in given.items()}
                | {f"model.{k}": v for k, v in MODEL_VALUES.get(model, {}).items()})
    return told | more
