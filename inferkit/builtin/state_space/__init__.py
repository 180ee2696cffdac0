"""The linear-Gaussian state space: its simulator, and its exact posterior.

    model.py      the matrices, as settings            simulator.py  "state_space"
    kalman.py     filter, smoother, joint draws        estimator.py  "kalman", from observations alone

Everything is in closed form, so it is what other estimators of latent dynamics are measured by.
"""

from inferkit.builtin.state_space.estimator import Innovations, Kalman
from inferkit.builtin.state_space.model import KalmanConfig, LinearGaussianConfig
from inferkit.builtin.state_space.simulator import LinearGaussian

__all__ = ["Innovations", "Kalman", "KalmanConfig", "LinearGaussian", "LinearGaussianConfig"]
