"""The engine for the other frameworks Keras speaks: JAX and PyTorch, one process, no group.

The same functions as `model.engines`, with the same mathematics: a row meets the same dropout mask, the loss is
the same sum. Only what Keras leaves to the framework, the differentiation, is written for each of them. It is
chosen by Keras's own setting, the environment variable KERAS_BACKEND; `model.threads.engine` looks at it.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from model.batches import Batch
from model.heads import summarise
from model.losses import Loss
from model.networks import input_names
from model.order import slices_of
from schemas.errors import ModelError
from schemas.records import Place

Array = NDArray[Any]
Gradients = list[Any]
Learner = tuple[Callable[..., tuple[Gradients, Any, Any]], Callable[[Gradients], None]]
"""``differentiate(*inputs, labels, weights, size, share)``, which gives the gradients of the data loss plus
`share` of the penalties, the data loss, and which rows' losses are not finite; and ``apply(gradients)``."""


class Group:
    """The one member of a training: what `model.engines.Group` is for many."""

    rank, size = 0, 1

    def sum(self, array: Array) -> Array:
        """Return the sum over all members: a copy of `array`."""
        return np.array(array)

    def broadcast(self, array: Array) -> Array:
        """Return rank 0's array: a copy of `array`."""
        return np.array(array)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Make the network and the optimizer in here."""
        yield


def join(place: Place) -> Group:
    """Return the group of one.

    Raises
    ------
    ModelError
        There are other members: groups need TensorFlow.
    """
    if place.size > 1:
        raise ModelError(
            f"{keras.backend.backend()} trains in one process, found a group of {place.size}",
            'set model.backend to "tensorflow", or train with one worker',
        )
    return Group()


def prepare(seed: int) -> None:
    """Make operations give the same bits each time.

    There is nothing to seed: initial weights, dropout and the order of rows all have seeds of their own.
    """
    if keras.backend.backend() == "torch":
        importlib.import_module("torch").use_deterministic_algorithms(True)
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def versions() -> dict[str, str]:
    """Return the versions of what computes: others may name their variables, or round, in another way."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: str(importlib.import_module(backend).__version__)}


def training_step(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss, group: Group, *, accumulate: int
) -> Callable[[Batch], tuple[float, NDArray[np.bool_]]]:
    """Return ``step(batch)``, which learns once from a global batch.

    See `model.engines.training_step`: the weighted sum of the losses divided by the size of the batch, plus the
    penalties, is differentiated in `accumulate` pieces, and the optimizer is applied once to the sum of their
    gradients.

    Raises
    ------
    ModelError
        Keras speaks a framework that cannot differentiate, or that `model.engines` is for.
    """
    backend = keras.backend.backend()
    if backend not in _LEARNERS:
        raise ModelError(
            f"the framework {backend!r} cannot train here", f"set model.backend to {' or '.join(_LEARNERS)}"
        )
    optimizer.build(network.trainable_variables)
    differentiate, apply = _LEARNERS[backend](network, optimizer, loss)
    names = input_names(network)

    def step(batch: Batch) -> tuple[float, NDArray[np.bool_]]:
        columns = (*batch.inputs(names), batch.labels, batch.weights)
        pieces = slices_of(batch.size, pieces=accumulate)
        gradients, total, bad = None, 0.0, np.zeros(batch.size, bool)
        for rows, _ in pieces:
            own, data_loss, found = differentiate(
                *(column[rows] for column in columns), np.float32(batch.size), np.float32(1 / len(pieces))
            )
            gradients = own if gradients is None else [a + b for a, b in zip(gradients, own, strict=True)]
            total += float(data_loss)
            bad[rows] = ops.convert_to_numpy(found)
        apply(gradients or [])
        return total, bad

    return step


def evaluation_step(network: keras.Model, loss: Loss, head: Any) -> Callable[[Batch], tuple[float, Array]]:
    """Return ``evaluate(batch)``: the sum of the losses, and the head's answers."""
    names = input_names(network)
    asked = _Asked(network, lambda output, labels: (loss(labels, output), summarise(output, head)))

    def evaluate(batch: Batch) -> tuple[float, Array]:
        rows, answers = asked.predict_on_batch([*batch.inputs(names), batch.labels])
        return float(np.sum(rows)), np.asarray(answers)

    return evaluate


def answers(network: keras.Model) -> Callable[[list[Array]], Array]:
    """Return a function of the inputs, a list, to what the network says of them in inference."""
    return lambda inputs: np.asarray(network.predict_on_batch(inputs))


def inference(network: keras.Model, head: Any, batch: int) -> Callable[[Mapping[str, Array]], Array]:
    """Return the head's answers to `batch` rows, whose inputs are given by name."""
    names = input_names(network)
    asked = _Asked(network, lambda output: summarise(output, head))
    return lambda given: np.asarray(asked.predict_on_batch([given[name] for name in names]))


class _Asked(keras.Model):
    """A network in inference and what is concluded from its output, so that Keras compiles both as one."""

    def __init__(self, network: keras.Model, conclude: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.conclude = network, conclude

    def call(self, inputs: Any) -> Any:
        """Conclude from the network's inputs and what else is given."""
        count = len(self.network.inputs)
        return self.conclude(self.network(list(inputs[:count]), training=False), *inputs[count:])


def _objective(network: keras.Model, optimizer: Any, loss: Loss) -> Callable[..., tuple[Any, Any, Any]]:
    """Return what is differentiated, of the network's output; with the data loss and the rows that are bad."""

    def objective(output: Any, penalties: Any, labels: Any, weights: Any, size: Any, share: Any) -> Any:
        rows = loss(labels, output)
        data_loss = ops.sum(weights * rows) / size
        total = data_loss + sum(penalties) * share if penalties else data_loss
        return optimizer.scale_loss(total), data_loss, ops.logical_not(ops.isfinite(rows))

    return objective


def _jax(network: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss) -> Learner:
    """Differentiate with JAX, which knows no state: variables go in and come out as values."""
    jax = importlib.import_module("jax")
    objective, count = _objective(network, optimizer, loss), len(network.inputs)

    def whole(learnt: Any, fixed: Any, slots: Any, *columns: Any) -> Any:
        inputs, rest = list(columns[:count]), columns[count:]
        output, fixed, penalties = network.stateless_call(
            learnt, fixed, inputs, training=True, return_losses=True
        )
        with keras.StatelessScope(state_mapping=list(zip(optimizer.variables, slots, strict=True))):
            scaled, data_loss, bad = objective(output, penalties, *rest)
        return scaled, (data_loss, bad, fixed)

    compiled = jax.jit(jax.value_and_grad(whole, has_aux=True))
    compiled_apply = jax.jit(optimizer.stateless_apply)

    def differentiate(*columns: Any) -> tuple[Gradients, Any, Any]:
        state = (network.trainable_variables, network.non_trainable_variables, optimizer.variables)
        (_, (data_loss, bad, fixed)), gradients = compiled(*map(_values, state), *columns)
        _assign(network.non_trainable_variables, fixed)
        return gradients, data_loss, bad

    def apply(gradients: Gradients) -> None:
        learnt, slots = compiled_apply(
            _values(optimizer.variables), gradients, _values(network.trainable_variables)
        )
        _assign(network.trainable_variables, learnt)
        _assign(optimizer.variables, slots)

    return differentiate, apply


def _values(variables: list[keras.Variable]) -> list[Any]:
    return [variable.value for variable in variables]


def _assign(variables: list[keras.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _torch(network: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss) -> Learner:
    """Differentiate with PyTorch, operation by operation."""
    torch = importlib.import_module("torch")
    objective, count = _objective(network, optimizer, loss), len(network.inputs)

    def differentiate(*columns: Any) -> tuple[Gradients, Any, Any]:
        given = list(map(ops.convert_to_tensor, columns))
        inputs, rest = given[:count], given[count:]
        output = network(inputs, training=True)
        scaled, data_loss, bad = objective(output, network.losses, *rest)
        gradients = torch.autograd.grad(scaled, _values(network.trainable_variables))
        return list(gradients), data_loss.detach(), bad

    def apply(gradients: Gradients) -> None:
        with torch.no_grad():
            optimizer.apply(gradients, network.trainable_variables)

    return differentiate, apply


_LEARNERS: dict[str, Callable[[keras.Model, keras.optimizers.Optimizer, Loss], Learner]] = {
    "jax": _jax,
    "torch": _torch,
}
"""By Keras's name for the framework."""
