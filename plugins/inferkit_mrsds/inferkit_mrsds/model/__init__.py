"""The generative model (dynamics, states, emissions) and the inference network.

Latents are (..., regions, d).  Networks of all pairs of regions and all states are stacked into one
array a layer, so a step of the whole model is a few batched matrix products.
"""
