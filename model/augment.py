"""Augmentation: the views of an image that training shows, each a function of (seed, epoch, row) alone.

A layer of the network, active in training only: its numbers come from the row's draw, as those of dropout do
(`model.blocks.RowDropout`), so that they are the same for any number of workers, batches and restarts.
"""

import math
from collections.abc import Mapping
from typing import Any

from keras import layers, ops

from model.blocks import hashed
from model.views import is_moved

_FILLS = {"nearest": "nearest", "zero": "constant"}
"""Keras's words for what is beyond the edge."""


class RandomView(layers.Layer):
    """Turn, stretch, mirror and shift images ``(batch, y, x, channel)``, each by its own draw.

    Between pixels it is interpolated linearly.

    Parameters
    ----------
    settings : Mapping
        ``rotation_deg``: turned by up to so much either way. ``zoom``: [low, high], the factors by which x and y are
        stretched, drawn apart. ``shift``: moved by up to this share of the side, in x and y. ``flips``: mirrored in x
        and in y, each with probability 1/2. ``fill``: what is seen beyond the edge, the ``nearest`` pixel again
        or ``zero``.
    seed : int
        Tells the layers of a network apart.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.settings, self.seed = dict(settings), seed

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return ``inputs[0]`` as training sees them; ``inputs[1]`` ``(batch,)`` are the rows' draws."""
        images, draw = inputs
        if not training:
            return images
        return ops.image.affine_transform(
            images,
            self._transforms(draw, images.shape[1]),
            interpolation="bilinear",
            fill_mode=_FILLS[self.settings.get("fill", "nearest")],
            data_format="channels_last",
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the images."""
        return input_shape[0]

    def _transforms(self, draw: Any, side: int) -> Any:
        """Return what takes a pixel of the view to one of the image, ``(batch, 8)`` as Keras wants it.

        Around the middle c: x' = c + (cos t (x - c) - sin t (y - c)) / zx + dx, y' likewise, a mirror changing the sign
        of the zoom.
        """
        settings, middle = self.settings, (side - 1) / 2
        u = hashed(draw, self.seed, (7,))
        angle = (2 * u[:, 0] - 1) * math.radians(settings["rotation_deg"])
        low, high = settings["zoom"]
        zoom = [low + (high - low) * u[:, i] for i in (1, 2)]
        if settings["flips"]:
            zoom = [
                value * ops.where(u[:, i] < 0.5, -1.0, 1.0) for value, i in zip(zoom, (3, 4), strict=True)
            ]
        shift = [(2 * u[:, i] - 1) * settings["shift"] * side for i in (5, 6)]
        a, b = ops.cos(angle) / zoom[0], -ops.sin(angle) / zoom[0]
        c, d = ops.sin(angle) / zoom[1], ops.cos(angle) / zoom[1]
        x0 = middle - a * middle - b * middle + shift[0]
        y0 = middle - c * middle - d * middle + shift[1]
        nothing = ops.zeros_like(a)
        return ops.stack([a, b, x0, c, d, y0, nothing, nothing], axis=-1)


def augmented(x: Any, draw: Any, settings: Mapping[str, Any], *, seed: int) -> Any:
    """Apply `RandomView` to the tensor `x`, or nothing where the settings ask for nothing."""
    return RandomView(settings, seed, name="view")([x, draw]) if is_moved(settings) else x
