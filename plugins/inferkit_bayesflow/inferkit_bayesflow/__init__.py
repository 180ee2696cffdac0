"""Amortised posteriors on bayesflow's networks.

    config.py     the settings
    backend.py    bayesflow imported on JAX or torch, with nothing changed for other code
    inputs.py     data as columns: scaled, missing values told, laid out for the networks
    networks.py   summary and inference networks from the settings
    on_jax.py     one training step, densities and draws, compiled;  on_torch.py  the same on torch
    rows.py       where batches come from: stored rows, or fresh simulations
    train.py      the loop: schedule, early stopping, checkpoints, exact resume
    estimator.py  fit and restore;  engine.py  the posterior
"""
