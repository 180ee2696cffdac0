"""What a simulator may say beside its outputs: that a prior makes no sense, and how it ran."""

import numpy as np
import pytest

import inferkit as ik
from inferkit import provenance
from inferkit.errors import ConfigError


class Speaking:
    parameters = (ik.Parameter("a", unit="mV"),)
    outputs = (ik.Output("x"),)
    note = "engine abacus"

    def simulate(self, theta, seeds):
        return {"x": theta["a"] + [np.random.default_rng(s).standard_normal() for s in seeds]}

    def check_prior(self, prior):
        if prior.units["a"] != "mV":
            raise ConfigError(f"a is in {prior.units['a']!r}", allowed="mV")


def study(tmp_path, unit, workers=0):
    return ik.Study(Speaking(), ik.Prior({"a": ik.Uniform(0, 1, unit=unit)}), path=tmp_path / "run",
                    executor=ik.executor("local", workers=workers), quiet=True)


def test_a_prior_that_makes_no_sense_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="a is in 'V'"):
        study(tmp_path, "V").simulate(10)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("workers", [0, 1])
def test_how_it_ran_is_in_the_provenance(tmp_path, workers):
    progress = study(tmp_path, "mV", workers).simulate(10)
    assert progress.notes == {"engine abacus"}
    assert provenance.events(tmp_path / "run")[-1]["notes"] == ["engine abacus"]
