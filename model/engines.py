"""The engine that speaks TensorFlow: compiled training steps, alone or in a group, and compiled inference.

It is imported by a trainer process and, when a worker predicts first, by `model.predictor`; nowhere else, so
that nothing but learning and predicting pays for the import. `model.portable` is the same for every other
framework Keras speaks, without groups; `model.threads.engine` says which one it is.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.batches import Batch
from model.heads import summarise
from model.jobs import peer_lost
from model.losses import Loss
from model.networks import input_names, label_shape
from model.order import slices_of
from schemas.errors import PeerLost, WorkerError
from schemas.records import Place

Array = NDArray[Any]

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
"""What a collective ends with when a member is gone."""
_UNCLEAR = (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.FailedPreconditionError)
"""What it may end with too; but these have other causes as well, so their words are looked at."""
_WORDS = ("ollective", "oordination", "heartbeat", "onnection reset", "ocket closed", "peer")
_PORT_TAKEN = ("Could not start gRPC server", "Address already in use", "address in use", "No address added")


class Group:
    """The members of one training; of one when alone. Made by `join`.

    Every member calls the same methods in the same order: each of them waits for the others.
    """

    def __init__(self, strategy: tf.distribute.Strategy, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._strategy = strategy
        self._totals: dict[Any, Callable[[Any], Any]] = {}

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Make the network and the optimizer in here: their variables begin with rank 0's values."""
        with peer_errors(self), self._strategy.scope():
            yield

    def run(self, function: Callable[..., Any], *tensors: Any) -> Any:
        """Call `function` as a member: in it `total` adds up over all of them. Belongs into a ``tf.function``."""
        return self._strategy.run(function, args=tensors)

    def sum(self, array: Array) -> Array:
        """Return the elementwise sum over all members, the same bits on each; integers do not round."""
        array = np.asarray(array)
        if self.size == 1 or not array.size:
            return array.copy()
        wide = array if array.dtype.kind == "f" else array.astype(np.int64)
        flat = np.ascontiguousarray(wide).ravel()
        if flat.dtype not in self._totals:
            spec = tf.TensorSpec((None,), flat.dtype)
            self._totals[flat.dtype] = _compiled(lambda x: self.run(total, x), [spec])
        with peer_errors(self):
            summed = self._totals[flat.dtype](tf.constant(flat)).numpy()
        return np.asarray(summed, array.dtype).reshape(array.shape)

    def broadcast(self, array: Array) -> Array:
        """Return rank 0's array, bit for bit; the others give one of the same shape and type."""
        array = np.asarray(array)
        data = array.tobytes() if self.rank == 0 else bytes(array.nbytes)
        words = np.frombuffer(data + bytes(-len(data) % 8), np.int64)
        found = self.sum(words).tobytes()[: array.nbytes]
        return np.frombuffer(found, array.dtype).reshape(array.shape).copy()


def total(values: Any) -> Any:
    """Return the sum over all members of a tensor, or of each of a list, within `Group.run`."""
    placed = tf.nest.map_structure(tf.identity, values)  # the inputs of a function are not on any device yet
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, placed)


@contextmanager
def peer_errors(group: Group) -> Iterator[None]:
    """Turn what TensorFlow raises when another member is gone into a `PeerLost`.

    Raises
    ------
    PeerLost
        Another member of the group ended, or does not answer.
    """
    try:
        yield
    except (*_LOST, *_UNCLEAR) as error:
        if group.size == 1 or not _is_lost(error):
            raise
        raise peer_lost(group.rank, group.size, _first_line(error)) from error


def _is_lost(error: Exception) -> bool:
    return isinstance(error, _LOST) or any(word in str(error) for word in _WORDS)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no words').splitlines()[0][:200]}"


def join(place: Place) -> Group:
    """Join the group of `place`, and wait for its other members. Comes before any other TensorFlow operation.

    GPUs take memory as they need it; of several that are visible, the first one is used.

    Raises
    ------
    PeerLost
        Another member did not come, or ended; or another process has taken this member's address.
    WorkerError
        It cannot join for another reason.
    """
    devices = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(devices[:1], "GPU")
    for device in devices[:1]:
        tf.config.experimental.set_memory_growth(device, True)
    if not place.members:
        return Group(tf.distribute.get_strategy(), 0, 1)
    task = {"type": "worker", "index": place.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(place.members)}, "task": task})
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        if any(words in str(error) for words in _PORT_TAKEN):
            raise PeerLost(  # nobody is to blame: all begin again
                f"trainer {place.rank} of {place.size} cannot listen on {place.members[place.rank]}: "
                "another process took the port in the meantime",
                "nothing to do if it comes once: the next generation takes other ports; else see that trainer's log",
            ) from error
        if place.size > 1 and _is_lost(error):
            raise peer_lost(place.rank, place.size, _first_line(error)) from error
        raise WorkerError(
            f"trainer {place.rank} of {place.size} cannot join its group: {_first_line(error)}",
            "see the workers' and the trainers' logs; all workers must reach each other by their own addresses",
        ) from error
    return Group(strategy, place.rank, place.size)


def prepare(seed: int) -> None:
    """Make operations give the same bits each time, and seed what has no seed of its own."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def versions() -> dict[str, str]:
    """Return the versions of what computes: others may name their variables, or round, in another way."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def training_step(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss, group: Group, *, accumulate: int
) -> Callable[[Batch], tuple[float, NDArray[np.bool_]]]:
    """Return ``step(batch)``, which learns once from a global batch, of which `batch` is this member's share.

    The loss that is differentiated is the weighted sum over all rows divided by the size of the global batch,
    plus the network's own penalties. Gradients are summed over the members once, as one list, in the replica's
    context; the optimizer is called outside of it, where it sums nothing itself, so that clipping and loss
    scaling see the gradient of the whole global batch.

    Parameters
    ----------
    network, optimizer : keras.Model, keras.optimizers.Optimizer
        Made within ``group.scope()``.
    loss : Loss
        One number a row.
    group : Group
        Whose members all call the step with their share of the same global batch.
    accumulate : int
        In how many pieces a batch is computed, one after the other, to need less memory (`model.order.pieces_of`).

    Returns
    -------
    callable
        Of a batch: the data loss of the whole global batch, the same on all members; and of each row of the own
        share, whether its loss is not finite.
    """
    with group.scope():
        optimizer.build(network.trainable_variables)

    names = input_names(network)

    def differentiate(*tensors: Any) -> Any:
        labels, weights, size, share = tensors[len(names) :]
        with tf.GradientTape() as tape:
            rows = loss(labels, network(list(tensors[: len(names)]), training=True))
            data_loss = tf.reduce_sum(weights * rows) / size
            penalties = tf.add_n(network.losses) * share if network.losses else 0.0
            scaled = optimizer.scale_loss(data_loss + penalties)
        gradients = tape.gradient(
            scaled, network.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [*gradients, data_loss], tf.logical_not(tf.math.is_finite(rows))

    def part(*tensors: Any) -> Any:
        return group.run(differentiate, *tensors)

    def conclude(own: Any) -> Any:
        *gradients, data_loss = group.run(total, own)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return data_loss

    def whole(*tensors: Any) -> Any:
        own, bad = part(*tensors)
        return conclude(own), bad

    number = tf.TensorSpec((None,), tf.float32)
    signature = [*_inputs(network), _labels(network), number, *[tf.TensorSpec((), tf.float32)] * 2]
    compiled, piece, last = _compiled(whole, signature), _compiled(part, signature), _compiled(conclude)
    add = _compiled(lambda one, other: [a + b for a, b in zip(one, other, strict=True)])

    def scale(size: int, among: int) -> Any:
        """What the losses of a piece of `among` rows are divided by: each row counts once a member that has it."""
        return tf.constant(size if among >= group.size else size * group.size, tf.float32)

    def step(batch: Batch) -> tuple[float, NDArray[np.bool_]]:
        columns = (*batch.inputs(names), batch.labels, batch.weights)
        pieces = slices_of(batch.size, pieces=accumulate, rank=group.rank, members=group.size)
        share = tf.constant(1 / (group.size * len(pieces)), tf.float32)
        with peer_errors(group):
            if len(pieces) == 1:
                data_loss, bad = compiled(*map(tf.constant, columns), scale(batch.size, batch.size), share)
                return float(data_loss), bad.numpy()
            own, bad = None, np.zeros(len(batch.rows), bool)
            for rows, among in pieces:
                given = (tf.constant(column[rows]) for column in columns)
                one, found = piece(*given, scale(batch.size, among), share)
                own = one if own is None else add(own, one)
                bad[rows] = found.numpy()
            return float(last(own)), bad

    return step


def evaluation_step(network: keras.Model, loss: Loss, head: Any) -> Callable[[Batch], tuple[float, Array]]:
    """Return ``evaluate(batch)``: the sum of the losses, and the head's answers; of the own rows only."""
    names = input_names(network)

    def evaluate(*tensors: Any) -> Any:
        *inputs, labels = tensors
        output = network(inputs, training=False)
        return tf.reduce_sum(loss(labels, output)), summarise(output, head)

    compiled = _compiled(evaluate, [*_inputs(network), _labels(network)])

    def step(batch: Batch) -> tuple[float, Array]:
        total_loss, answers = compiled(*map(tf.constant, (*batch.inputs(names), batch.labels)))
        return float(total_loss), answers.numpy()

    return step


def answers(network: keras.Model) -> Callable[[list[Array]], Array]:
    """Return a function of the inputs, a list, to what the network says of them in inference."""
    compiled = _compiled(lambda *inputs: network(list(inputs), training=False), _inputs(network))
    return lambda inputs: np.asarray(compiled(*map(tf.constant, inputs)))


def inference(network: keras.Model, head: Any, batch: int) -> Callable[[Mapping[str, Array]], Array]:
    """Return the head's answers to `batch` rows, whose inputs are given by name, as one frozen graph.

    The variables become constants, which lets the graph optimizer fold batch normalisation and the like; batch
    normalisation uses its moving statistics, and dropout is off unless the network was built for Monte Carlo.
    """
    names, signature = input_names(network), _inputs(network, batch)
    function = _compiled(lambda *inputs: summarise(network(list(inputs), training=False), head), signature)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    used = [tensor.name.split(":")[0] for tensor in frozen.inputs]

    def call(*inputs: Any) -> Any:
        given = dict(zip(names, inputs, strict=True))
        return frozen(*(given[name] for name in used))[0]

    # a frozen function called directly formats its arguments as text at each call: 25 ms for 128 images
    compiled = _compiled(call, signature)

    def answer(given: Mapping[str, Array]) -> Array:
        return np.asarray(compiled(*(tf.constant(given[name]) for name in names)))

    return answer


def _compiled(function: Callable[..., Any], signature: list[Any] | None = None) -> Any:
    """Compile `function`; its Python code decides nothing by a tensor's value, so none of it is rewritten."""
    return tf.function(function, input_signature=signature, autograph=False)


def _labels(network: keras.Model) -> tf.TensorSpec:
    return tf.TensorSpec((None, *label_shape(network)), tf.float32)


def _inputs(network: keras.Model, batch: int | None = None) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((batch, *x.shape[1:]), x.dtype, name=x.name) for x in network.inputs]
