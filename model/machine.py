"""A network with its optimizer and its compiled steps: what a trainer turns data into weights with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.batches import Batch
from model.bundles import Bundle
from model.cubes import Cube
from model.losses import make_loss
from model.networks import build_network
from model.optimizers import make_optimizer
from model.order import batches_per_epoch
from model.presets import Preset
from model.remembering import Memory, cut, is_remembered
from model.runtimes import restored
from model.state import Arrays, Layout, layout_of
from model.threads import engine
from model.transfer import take_over
from schemas.records import Place

_IN_STEP = 16
"""Batches between two waits of the members for each other."""


@dataclass
class Machine:
    """The network with its compiled steps.

    ``group`` is an engine's `Group`; ``learn`` and ``evaluate`` are what its `training_step` and
    `evaluation_step` return. All members of the group learn together; each evaluates for itself.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    group: Any
    learn: Callable[[Batch], tuple[float, NDArray[np.bool_]]]
    evaluate: Callable[[Batch], tuple[float, NDArray[Any]]]

    @property
    def variables(self) -> list[keras.Variable]:
        """Weights, moving statistics and the optimizer's variables: all that a checkpoint must hold."""
        return [*self.network.variables, *self.optimizer.variables]

    @property
    def layout(self) -> Layout:
        """Names and shapes of the variables."""
        return layout_of([variable.path for variable in self.variables], self.variables)

    def values(self) -> Arrays:
        """Return a copy of the variables' values."""
        return [np.array(variable.numpy()) for variable in self.variables]

    def assign(self, values: Arrays) -> None:
        """Give the variables the values of `values`, on every member."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def evaluated(
        self, own: Iterator[Batch], *, rows: int, batch: int, alive: Callable[[], None]
    ) -> Iterator[tuple[Batch, float, NDArray[Any]]]:
        """Give a member's own batches of `rows` rows with what `evaluate` says of them; members wait for each other.

        `alive` is called for each batch of the member that has most.
        """
        rounds = batches_per_epoch(batches_per_epoch(rows, self.group.size), batch)
        for number in range(rounds):
            one = next(own, None)
            if number % _IN_STEP == _IN_STEP - 1:
                self.group.sum(np.zeros(1))
            alive()
            if one is not None:
                yield one, *self.evaluate(one)


def assemble(
    preset: Preset,
    cube: Cube,
    seed: int,
    *,
    group: Any = None,
    donors: Sequence[Bundle] = (),
    rows: int = 1,
) -> Machine:
    """Build the network of `preset` for `cube`, its optimizer and the compiled steps.

    Parameters
    ----------
    preset, cube, seed
        What to build, for which images, with which initial weights.
    group : Group, optional
        The engine's group to learn with; without one the machine learns alone.
    donors : sequence of Bundle
        Networks whose layers this one begins with, see `model.transfer`.
    rows : int
        Number of rows that are learnt from.

    Raises
    ------
    ModelError
        The network cannot be built for the cube, or shares no layer with a donor.
    """
    framework = engine()
    group = framework.join(Place()) if group is None else group
    precision = preset["training"]["precision"]
    loss = make_loss(preset["loss"], preset["head"])
    # Synchronised moments are used by a group of one too, so that their rounding does not depend on its size.
    synchronized = keras.backend.backend() == "tensorflow"
    with group.scope():
        optimizer = make_optimizer(preset["optimizer"], precision=precision)
        network = build_network(
            preset,
            cube.geometry,
            seed=seed,
            synchronized=synchronized,
            precision=precision,
            rows=rows,
        )
        take_over(network, [(donor, restored(donor)) for donor in donors])
    accumulate = preset["training"]["accumulate"]
    first, rest = cut(network) if is_remembered(preset) else (None, network)
    learn = framework.training_step(rest, optimizer, loss, group, accumulate=accumulate)
    evaluate = framework.evaluation_step(rest, loss, preset["head"])
    if first is not None:
        memory = Memory(framework.answers(first))
        learn, evaluate = memory.before(learn), memory.before(evaluate)
    return Machine(network, optimizer, group, learn, evaluate)
