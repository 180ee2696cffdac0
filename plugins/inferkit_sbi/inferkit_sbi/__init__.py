"""Neural estimators on sbi's networks.

    inputs.py   robust standardisation, missing values, embeddings by shape
    embed.py    the embedding networks
    density.py  sbi's density estimators and classifiers, built from a config
    train.py    the training loop: early stopping, schedule, checkpoints, exact resume
    npe.py nle.py nre.py    the estimators;  mcmc.py  sampling from a learned likelihood
"""
