"""A trained network of pixel classes as what `model.votes` asks: probabilities of the pixels of windows."""

import numpy as np

from model.predictor import Predictor
from model.votes import Array, Network


def network_of(predictor: Predictor) -> Network:
    """Return what gives, of windows ``(batch, y, x, band)``, their classes' probabilities ``(batch, y, x, class)``.

    Several networks, or passes of one, are averaged.
    """
    classes = len(predictor.head["classes"])

    def answer(windows: Array) -> Array:
        flat = predictor(windows).mean(axis=0, dtype=np.float32)
        return flat.reshape(*windows.shape[:3], classes)

    return answer
