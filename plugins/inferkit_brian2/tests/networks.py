"""A small excitatory-inhibitory network, as copies side by side and as one."""

import inferkit_brian2 as ib
from brian2 import Equations, Network, NeuronGroup, SpikeMonitor, StateMonitor, Synapses, ms, mV

E, INH = 80, 20
EQUATIONS = """
dv/dt = (EL - v + drive + g)/tau + noise*sqrt(2/tau)*xi : volt (unless refractory)
g = ge*(0*mV - v) + gi*(-80*mV - v) : volt
dge/dt = -ge/(5*ms) : 1
dgi/dt = -gi/(10*ms) : 1
w : 1 (constant)
drive : volt (constant)
"""
SPACE = {"EL": -65 * mV, "tau": 20 * ms, "noise": 3 * mV}


def side_by_side(n):
    common = dict(
        threshold="v > -50*mV", reset="v = -60*mV", refractory=2 * ms, method="euler", namespace=SPACE
    )
    exc = NeuronGroup(n * E, Equations(EQUATIONS), name="exc", **common)
    inh = NeuronGroup(n * INH, Equations(EQUATIONS), name="inh", **common)
    objects = [exc, inh]
    for pre, size, effect in ((exc, E, "ge_post += w_post"), (inh, INH, "gi_post += 4*w_post")):
        for post, many in ((exc, E), (inh, INH)):
            s = Synapses(pre, post, on_pre=effect, name=f"{pre.name}_{post.name}")
            s.connect(j=ib.within(size, many, 0.2))
            objects.append(s)
    objects += [
        SpikeMonitor(exc, name="exc_spikes"),
        StateMonitor(exc, "v", record=[r * E for r in range(n)], name="voltages"),
    ]

    def begin():
        exc.v = "EL + rand()*10*mV"
        inh.v = "EL + rand()*10*mV"

    return Network(objects), begin


PARAMETERS = {"exc.w": 0.05, "exc.drive": "18 mV", "inh.w": 0.05, "inh.drive": "14 mV"}
OUTPUTS = {
    "rate": {"monitor": "exc_spikes", "kind": "rate", "size": E, "bin": "20 ms"},
    "counts": {"monitor": "exc_spikes", "kind": "counts", "size": E},
    "spikes": {"monitor": "exc_spikes", "size": E},
    "v": {
        "monitor": "voltages",
        "kind": "trace",
        "variable": "v",
        "unit": "mV",
        "size": 1,
        "bin": "0.1 ms",
    },
}


def make(**settings):
    told = dict(batch=side_by_side, parameters=PARAMETERS, outputs=OUTPUTS, duration="200 ms", rows=16)
    return ib.network(**{**told, **settings})


simulator = make()
