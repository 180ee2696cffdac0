"""Small studies that several tests share."""

import numpy as np

import inferkit as ik

TINY = {"inference": "affine", "layers": 1, "width": 16, "summary_width": 16, "summary_dim": 4,
        "batch": 50, "located": False}


def wave(theta, rng):
    """A noisy decaying trace of two parameters."""
    t = np.linspace(0.0, 1.0, 40)
    return theta["a"] * np.exp(-t / 0.5) + theta["b"] + 0.1 * rng.standard_normal(40)


def wave_study(folder, n=300, function=wave, **given):
    made = ik.Study(function, ik.Prior({"a": ik.Uniform(0.0, 2.0), "b": ik.Normal(0.0, 1.0)}),
                    executor=ik.executor("local", workers=0), seed=3, quiet=True, path=folder / "run",
                    **given)
    made.simulate(n)
    return made


def estimator(**settings):
    return ik.estimator("bayesflow", **{**TINY, **settings})
