"""Inference: the chain of states, the path of latents, the objective."""
