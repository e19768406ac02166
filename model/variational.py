"""Layers whose weights are distributions: the Bayesian networks' dense and convolutional layers.

Each weight has a normal posterior, each output its own noise: the local reparameterisation of Kingma, Salimans and
Welling 2015, which draws what a layer gives, x W ~ N(x μ, x² σ²), in place of the weights. The noise of a row comes
from a hash of its draw (`model.blocks`), so that it is the same for any number of workers. The networks of Zhou et al.
2022 have Flipout in its place, which is the same posterior with noise that the rows of a batch share.
"""

import math
from typing import Any

import keras
from keras import layers, ops

from model.blocks import hashed

_FIRST_RHO = -3.0
"""Initial ρ of the posterior's deviation softplus(ρ) = 0.049, as TensorFlow Probability has it."""
_FLOOR = 1e-12


class Variational(layers.Layer):
    """A dense layer, or a two-dimensional convolution where there is a `kernel`, with a posterior of its weights.

    The loss of the layer is `share` of the Kullback-Leibler divergence of the posterior from a prior N(0, 1). One over
    the number of training rows makes the mean loss of a row the negative evidence bound (Blundell et al. 2015, eq. 2).
    The bias is a number.

    It draws in evaluation as in training: a normalisation after it has learnt how noisy its input is, and makes of
    means without noise what no training has seen.

    Parameters
    ----------
    width : int
        Units, or filters.
    kernel : int
        Side of the convolution's kernel; 0 for a dense layer.
    stride : int
        Of the convolution, whose padding is "same".
    share : float
        Of the divergence that is the loss.
    seeds : tuple of int
        Of the initial weights and of the noise.
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: int,
        stride: int,
        share: float,
        seeds: tuple[int, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width, self.kernel, self.stride = width, kernel, stride
        self.share, self.seeds = share, seeds

    def build(self, input_shape: Any) -> None:
        """Make the posterior: means as a plain layer begins, small deviations."""
        side = (self.kernel, self.kernel) if self.kernel else ()
        shape = (*side, input_shape[0][-1], self.width)
        glorot = keras.initializers.GlorotUniform(self.seeds[0])
        self.mean = self.add_weight(shape=shape, initializer=glorot, name="mean")
        rho = keras.initializers.Constant(_FIRST_RHO)
        self.rho = self.add_weight(shape=shape, initializer=rho, name="rho")
        self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the layer's output for ``inputs[0]``; ``inputs[1]`` ``(batch,)`` are the rows' draws."""
        x, draw = inputs
        deviation = ops.softplus(self.rho)
        divergence = ops.sum(0.5 * (deviation**2 + self.mean**2 - 1) - ops.log(deviation))
        self.add_loss(self.share * divergence)
        mean = self._apply(x, self.mean) + self.bias
        spread = ops.sqrt(self._apply(x**2, deviation**2) + _FLOOR)
        return mean + spread * self._noise(draw, mean.shape[1:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        *front, _ = input_shape[0]
        if self.kernel:
            front = [front[0], *(-(-side // self.stride) for side in front[1:])]
        return (*front, self.width)

    def _apply(self, x: Any, weights: Any) -> Any:
        if self.kernel:
            return ops.conv(x, weights, strides=self.stride, padding="same")
        return ops.matmul(x, weights)

    def _noise(self, draw: Any, shape: tuple[int, ...]) -> Any:
        """Return standard normal numbers, of each row by its draw (Box and Muller 1958)."""
        first, second = (hashed(draw, (self.seeds[1], number), shape) for number in (1, 2))
        return ops.sqrt(-2 * ops.log(1 - first)) * ops.cos(2 * math.pi * second)
