"""Approximate Bayesian computation: parameters whose simulated inputs lie near the observed ones."""
