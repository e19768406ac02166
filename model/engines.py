"""The one module that speaks TensorFlow: compiled training steps and compiled inference.

It is imported by a trainer process and, when a worker predicts first, by `model.prediction`; nowhere else, so
that nothing but learning and predicting pays for the import. Another framework is another module with these
functions.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.heads import summarise
from model.losses import Loss

Array = NDArray[Any]


def prepare(seed: int) -> None:
    """Make operations give the same bits each time, and seed what has no seed of its own."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def versions() -> dict[str, str]:
    """Return the versions of what computes: others may name their variables, or round, in another way."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def training_step(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss
) -> Callable[[Array, Array, float], float]:
    """Return ``step(images, labels, global_batch)``, which learns once and returns the data loss.

    The loss that is differentiated is the sum over the images given, divided by `global_batch`, plus the
    network's own penalties; so processes that each see a share of one global batch may add their gradients.
    """
    optimizer.build(network.trainable_variables)

    def learn(images: Any, labels: Any, global_batch: Any) -> Any:
        with tf.GradientTape() as tape:
            data_loss = tf.reduce_sum(loss(labels, network(images, training=True))) / global_batch
            total = data_loss + tf.add_n(network.losses) if network.losses else data_loss
        gradients = tape.gradient(total, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return data_loss

    compiled = tf.function(
        learn, input_signature=[*_images_and_labels(network), tf.TensorSpec((), tf.float32)]
    )

    def step(images: Array, labels: Array, global_batch: float) -> float:
        return float(
            compiled(tf.constant(images), tf.constant(labels), tf.constant(global_batch, tf.float32))
        )

    return step


def evaluation_step(
    network: keras.Model, loss: Loss, head: Any
) -> Callable[[Array, Array], tuple[float, Array]]:
    """Return ``evaluate(images, labels)``: the sum of the losses, and the head's answers."""

    def evaluate(images: Any, labels: Any) -> Any:
        output = network(images, training=False)
        return tf.reduce_sum(loss(labels, output)), summarise(output, head)

    compiled = tf.function(evaluate, input_signature=_images_and_labels(network))

    def step(images: Array, labels: Array) -> tuple[float, Array]:
        total, answers = compiled(tf.constant(images), tf.constant(labels))
        return float(total), answers.numpy()

    return step


def inference(network: keras.Model, head: Any, batch: int) -> Callable[[Array], Array]:
    """Return the head's answers to ``(batch, y, x, band)`` images, as one frozen graph of fixed shape.

    The variables become constants, which lets the graph optimizer fold batch normalisation and the like;
    dropout is off and batch normalisation uses its moving statistics.
    """
    signature = [tf.TensorSpec((batch, *network.input_shape[1:]), tf.uint8)]
    function = tf.function(
        lambda images: summarise(network(images, training=False), head), input_signature=signature
    )
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    # a frozen function called directly formats its arguments as text at each call: 25 ms for 128 images
    compiled = tf.function(lambda images: frozen(images)[0], input_signature=signature, autograph=False)

    def answer(images: Array) -> Array:
        return np.asarray(compiled(tf.constant(images)))

    return answer


def _images_and_labels(network: keras.Model) -> list[Any]:
    return [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8), tf.TensorSpec((None,), tf.float32)]
