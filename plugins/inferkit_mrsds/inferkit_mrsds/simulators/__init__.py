"""Switching systems of several regions whose states, latents and messages are known.

Every simulator keeps one book.  With x_t the latents (regions x d) of bin t and z_t the state that
generated them,

    x_t - x_{t-1} = self_t + sum_j message_t[:, j] + input_t + noise_t        for t >= 1,

where the terms of bin t depend on x_{t-1}, u_t and z_t; at t = 0 they are zero.  `message[i, j]` goes
from region j to region i.  A row is one trial; the emission's weights belong to the simulator.
"""
