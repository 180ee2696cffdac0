"""`inferkit demo`: a LIF neuron's parameters from a noisy voltage trace, from nothing to a report.

It is a study like any other; its study file is left in the run folder to be changed and run again.
"""

from __future__ import annotations

from pathlib import Path

from inferkit.commands import study_file
from inferkit.study import Study

STUDY = """\
# A leaky integrate-and-fire neuron gets a square pulse of current; we see 200 ms of its noisy
# voltage and its spikes, and infer four parameters.  Try:  inferkit run {path}/demo.toml
path = "{path}"
seed = 1
simulations = {simulations}
features = [
    {{name = "stats", output = "V", which = ["mean", "sd", "min", "rest_mean"], onset = 20.0}},
    {{name = "spike_count"}},
    {{name = "spike_times", k = 2}},
]

# The "observed" data are one simulation of known parameters, so that we can see the truth found.
# Use your own with:  observed = "my_recording.npz"
[observed]
seed = 7
theta = {{tau = 18.0, V_rest = -66.0, C = 190.0, V_th = -49.0}}

[simulator]
name = "lif"
amplitude = 250.0

[prior]
tau = {{family = "log_normal", median = 20.0, sigma = 0.3, unit = "ms"}}
V_rest = {{family = "normal", loc = -65.0, scale = 3.0, unit = "mV"}}
C = {{family = "log_normal", median = 200.0, sigma = 0.3, unit = "pF"}}
V_th = {{family = "normal", loc = -48.0, scale = 3.0, unit = "mV"}}

[estimator]
name = "abc-rejection"

[executor]
name = "local"
"""


def run(path: Path, simulations: int) -> Study:
    """The demo's study, simulated and fitted."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / "demo.toml"
    file.write_text(STUDY.format(path=path.as_posix(), simulations=simulations))
    study, _ = study_file.read(file)
    print(f"study: {file}")
    study_file.keep_copy(study, file, simulations)
    study.simulate(simulations)
    study.fit()
    return study
