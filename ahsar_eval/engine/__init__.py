"""The same networks in less time: loops in place of the tensor operations of a spiking layer."""

from ahsar_eval.engine.neurons import looped_neurons

__all__ = ["looped_neurons"]
