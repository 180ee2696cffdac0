"""A leaky integrate-and-fire neuron: `config` (settings, current) and `simulator` (dynamics)."""

from inferkit.builtin.lif.config import LIFConfig
from inferkit.builtin.lif.simulator import LIF

__all__ = ["LIF", "LIFConfig"]
