"""What a bare install can do: the built-in plugin, registered through the same hooks as all others."""
