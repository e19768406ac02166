"""What a network of pixel classes learns by, after Morpheus (Hausen & Robertson 2020, ApJS 248, 20).

Labels are a probability of each class in each pixel. The published loss weighs a pixel by how rare its class is
in the batch. Here the weights come from all training pixels, counted once before the training: so a window's loss
does not hang on its batch, nor on how a batch is shared among processes, and a class that is missing is found
before anything is learnt. For a batch of everything the two are the same number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]
PixelLoss = Callable[[Any, Any], Any]
"""Of the labels and the logits ``(batch, y, x, class)``: ``(batch,)``."""


def make_pixel_loss(masses: Sequence[float] | Array, *, background: int) -> PixelLoss:
    """Return the class-weighted cross-entropy plus 1 - Dice of the background.

    The weight of a pixel is ``1 / masses[its dominant class]``; the cross-entropy, of a softmax with the label,
    is averaged over the window. Dice is ``2 sum(y p) / sum(y + p)`` over the window, of the label y and the
    probability p = sigmoid(logit) of the background.

    Parameters
    ----------
    masses : sequence of float
        Of each class, from `model.pixel_labels.class_masses`.
    background : int
        Which class is the background.

    Raises
    ------
    ModelError
        A mass is not a positive number: the class has no example.
    """
    given = np.asarray(masses, np.float64)
    if not (np.isfinite(given).all() and (given > 0).all()):
        raise ModelError(
            f"expected the mass of each class, each more than 0, found {given.tolist()}",
            "take them from `model.pixel_labels.class_masses`",
        )
    weights = (1 / given).astype(np.float32)

    def loss(labels: Any, logits: Any) -> Any:
        labels, logits = ops.cast(labels, "float32"), ops.cast(logits, "float32")
        weight = ops.take(ops.convert_to_tensor(weights), ops.argmax(labels, axis=-1))
        entropy = -ops.sum(labels * ops.log_softmax(logits, axis=-1), axis=-1)
        sky = _dice(labels[..., background], ops.sigmoid(logits[..., background]))
        return ops.mean(weight * entropy, axis=(1, 2)) + 1.0 - sky

    return loss


def _dice(labels: Any, found: Any) -> Any:
    """Return the overlap of two maps ``(batch, y, x)``, 0 to 1; 0 if both are empty."""
    common = ops.sum(labels * found, axis=(1, 2))
    return 2.0 * common / ops.maximum(ops.sum(labels + found, axis=(1, 2)), 1e-7)
