"""Models that several tests use."""

import inferkit as ik

LIF = "dv/dt = (EL - v + R*I) / tau : volt (unless refractory)"
HH = """
dv/dt = (gl*(El - v) + g_na*m**3*h*(ENa - v) + g_kd*n**4*(EK - v) + I) / Cm : volt
dm/dt = 0.32*4/exprel((13 - (v - VT)/mV)/4)/ms*(1 - m) - 0.28*5/exprel(((v - VT)/mV - 40)/5)/ms*m : 1
dh/dt = 0.128*exp((17*mV - v + VT)/(18*mV))/ms*(1 - h) - 4/(1 + exp((40*mV - v + VT)/(5*mV)))/ms*h : 1
dn/dt = 0.032*5/exprel((15 - (v - VT)/mV)/5)/ms*(1 - n) - 0.5*exp((10*mV - v + VT)/(40*mV))/ms*n : 1
"""


def lif(**settings):
    told = dict(
        equations=LIF,
        threshold="v > vt",
        reset="v = EL",
        refractory="2 ms",
        method="exact",
        namespace={"EL": "-65 mV"},
        initial={"v": "-65 mV"},
        duration="60 ms",
        record=("v",),
        parameters={"tau": "10 ms", "R": "100 Mohm", "vt": "-50 mV"},
        inputs={"I": {"steps": ["0.2 nA"], "onset": "5 ms", "end": "50 ms"}},
    )
    return ik.simulator("brian2", **{**told, **settings})


def hh(**settings):
    told = dict(
        equations=HH,
        threshold="v > -20*mV",
        refractory="v > -20*mV",
        method="exponential_euler",
        namespace={"El": "-65 mV", "ENa": "50 mV", "EK": "-90 mV", "VT": "-63 mV"},
        dt="0.05 ms",
        initial={"v": "El"},
        record=("v",),
        duration="100 ms",
        parameters={"g_na": "32 uS", "g_kd": "6 uS", "gl": "10 nS", "Cm": "200 pF"},
        inputs={"I": {"steps": ["1 nA"], "onset": "20 ms", "end": "90 ms"}},
    )
    return ik.simulator("brian2", **{**told, **settings})


def membrane(**settings):
    """An Ornstein-Uhlenbeck membrane."""
    told = dict(
        equations="dv/dt = (EL - v)/tau + sigma*sqrt(2/tau)*xi : volt",
        method="euler",
        namespace={"EL": "-65 mV"},
        initial={"v": "-65 mV"},
        duration="20 ms",
        dt="0.1 ms",
        parameters={"tau": "10 ms", "sigma": "2 mV"},
        record=("v",),
        record_dt="0.5 ms",
    )
    return ik.simulator("brian2", **{**told, **settings})
