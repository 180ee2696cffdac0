"""What a fitted model says: latents, states, messages, fields, forecasts, held-out neurons."""
