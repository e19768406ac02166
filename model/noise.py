"""Noise: unit Gaussian noise that is added to whitened signals, anew for each row and epoch.

A layer of the network: its numbers come from the row's draw alone (`model.order`), in training and in evaluation, so
they are the same for any number of workers, batches and restarts. It is data, not regularisation: passes of a Monte
Carlo have no say in it.
"""

import math
from typing import Any

from keras import layers, ops

from model.blocks import hashed

_TINY = 2.0**-25
"""Half the step of the uniform numbers: their logarithm must be finite, and no noise is beyond 5.9 sigma."""


class Noise(layers.Layer):
    """Add independent noise of N(0, sigma^2) to each number of a row.

    Two uniform numbers that are hashes of (layer, draw of the row, element) give two normal ones (Box and Muller 1958,
    Ann. Math. Stat. 29, 610). The hashes are the same bits in every framework; the logarithm, the root and the
    cosine are exact to its rounding.

    Parameters
    ----------
    seed : int
        Tells the layers of a network apart.
    sigma : float
        Standard deviation.
    always : bool
        In evaluation too.
    """

    def __init__(self, seed: int, *, sigma: float = 1.0, always: bool = False, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.seed, self.sigma, self.always = seed, sigma, always

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return ``inputs[0]`` ``(batch, ...)`` with noise; ``inputs[1]`` ``(batch,)`` are the rows' draws."""
        x, draw = inputs
        if not (training or self.always):
            return x
        return x + self.sigma * self.normal(draw, x.shape[1:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of what noise is added to."""
        return input_shape[0]

    def normal(self, draw: Any, shape: tuple[int, ...]) -> Any:
        """Return standard normal numbers ``(batch, *shape)``."""
        count = math.prod(shape)
        pairs = (count + 1) // 2
        size = ops.sqrt(-2.0 * ops.log(hashed(draw, (self.seed, 0), (pairs,)) + _TINY))
        angle = (2 * math.pi) * hashed(draw, (self.seed, 1), (pairs,))
        both = ops.concatenate([size * ops.cos(angle), size * ops.sin(angle)], axis=-1)
        return ops.reshape(both[:, :count], (-1, *shape))
