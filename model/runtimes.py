"""Runtimes: what computes the network of a bundle. `openvino` reads the bundle's export, `tensorflow` its weights
(and so does another framework that Keras is told to compute with).

Which one it is depends on the bundle and on what was asked for, never on what happens to be installed: workers
that predict parts of one catalogue compute with the same runtime, or one of them says what it lacks.
"""

import importlib
import importlib.metadata
import itertools
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundles import Bundle
from model.forests import Forest
from model.intake import intake_of
from model.threads import engine as framework
from model.threads import import_with_tensorflow
from schemas.errors import ModelError

Array = NDArray[Any]
Answer = Callable[[Mapping[str, Array]], Callable[[], Array]]
"""Begins to compute; what it returns waits for the answers: the head's, ``(pass, batch, width)``, to what is given by
name: ``image`` and ``vector`` ``(batch, ...)``, and ``draw`` ``(pass, batch)``. A thread may begin `AHEAD` before it
waits for the first one."""
AHEAD = 2

_ROWS_OF_A_FOREST = 4096
_SAMPLES_AT_ONCE = 1 << 19
ENGINES = ("auto", "openvino", "tensorflow")
EXPORTED = {False: "network", True: "dropout"}
"""Name of an export's files, without and with dropout in inference."""


def openvino_version() -> str:
    """Return the version of OpenVINO that is installed, empty if none is."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return ""


def import_openvino() -> Any:
    """Import OpenVINO without what it sends home.

    On import, OpenVINO's converter reports itself to its makers and leaves files in the user's home; where its
    telemetry is not installed it uses a stand-in that does nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def engine_of(bundle: Bundle, engine: str) -> str:
    """Return what computes a bundle: ``openvino`` or ``tensorflow``, or ``numpy`` for a forest.

    Parameters
    ----------
    bundle : Bundle
        ``auto`` means OpenVINO if it has an export of images, else TensorFlow: of long signals that is far faster.
    engine : str
        One of `ENGINES`.

    Raises
    ------
    ModelError
        OpenVINO is asked for, or needed, and is not there, or is older than the export; or the bundle has none.
    """
    if engine not in ENGINES:
        raise ModelError(
            f"there is no engine {engine!r}", f"set model.engine to one of: {', '.join(ENGINES)}"
        )
    if bundle.preset["network"]["kind"] == "forest":
        return "numpy"
    if engine == "tensorflow" or (engine == "auto" and (not bundle.export or bundle.geometry.is_signal)):
        return "tensorflow"
    if not bundle.export:
        raise ModelError(
            f"the bundle {bundle.path} has no export for OpenVINO: none was installed where it was trained",
            "set model.engine to 'auto' or 'tensorflow', or train again where openvino is installed",
        )
    installed = openvino_version()
    if _numbers(installed) < _numbers(bundle.export):
        found = f"openvino {installed}" if installed else "no openvino"
        raise ModelError(
            f"the bundle {bundle.path} is for openvino {bundle.export}, and this worker has {found}",
            f"install it on every worker: pip install 'openvino>={bundle.export}'; "
            "or set model.engine to 'tensorflow', which all workers then use",
        )
    return "openvino"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version; those of none are the lowest.

    >>> _numbers("2026.4.1-22982") > _numbers("2026.4.0"), _numbers("")
    (True, ())
    """
    words = version.split("-")[0].split(".")[:3]
    return tuple(int(word) for word in words if word.isdigit())


def make_answer(bundle: Bundle, *, engine: str, batch: int, passes: int, threads: int) -> Answer:
    """Compile a bundle's network for images of one fixed shape.

    Parameters
    ----------
    bundle : Bundle
        What to compute.
    engine : str
        One of `ENGINES`.
    batch : int
        Images that are computed at once.
    passes : int
        Passes with dropout active; 0 for one pass without.
    threads : int
        How many tasks of this process may compute at the same time, each of them on one thread.

    Raises
    ------
    ModelError
        The engine is not there, the weights do not fit, or the preset has no dropout that passes could vary.
    """
    if passes and not bundle.preset.drops:
        raise ModelError(
            f"{passes} Monte-Carlo passes are asked for, and preset {bundle.preset.name!r} has no dropout: "
            "all of them would be the same",
            "set model.passes to 0, or train with network.dropout above 0",
        )
    computes = engine_of(bundle, engine)
    if computes == "numpy":
        return _forest(bundle)
    if computes == "openvino":
        return _openvino(bundle, batch, passes, threads)
    return _tensorflow(bundle, batch, passes)


def restored(bundle: Bundle, *, monte_carlo: bool = False) -> Any:
    """Return the Keras network of a bundle with its weights, in float32 whatever it was trained in.

    Raises
    ------
    ModelError
        The weights do not fit the preset of this version.
    """
    networks = import_with_tensorflow("model.networks", threads=1)
    network = networks.build_network(bundle.preset, bundle.geometry, seed=0, monte_carlo=monte_carlo)
    shapes = [tuple(weight.shape) for weight in network.weights]
    if shapes != [weight.shape for weight in bundle.weights]:
        raise ModelError(
            f"the weights of {bundle.path} do not fit preset {bundle.preset.name!r} of this version",
            "use the version that trained the bundle (it is in run.json), or train again",
        )
    network.set_weights(list(bundle.weights))
    return network


def best_batch(bundle: Bundle) -> int:
    """Return how many rows are best computed at once.

    What 32 images take fits into a core's cache (decision 0012), but not what 32 long signals do; a forest goes down
    each tree with all rows.
    """
    if bundle.preset["network"]["kind"] == "forest":
        return _ROWS_OF_A_FOREST
    geometry = bundle.geometry
    return max(1, min(32, _SAMPLES_AT_ONCE // geometry.shape[0])) if geometry.is_signal else 32


def _forest(bundle: Bundle) -> Answer:
    forest = Forest(*bundle.weights)

    def begin(given: Mapping[str, Array]) -> Callable[[], Array]:
        found = forest.pdf(given["vector"])[None]
        return lambda: found

    return begin


def _tensorflow(bundle: Bundle, batch: int, passes: int) -> Answer:
    network = restored(bundle, monte_carlo=passes > 0)
    answer = framework().inference(network, bundle.preset["head"], batch)

    def begin(given: Mapping[str, Array]) -> Callable[[], Array]:
        found = np.stack([answer({**given, "draw": row}) for row in given["draw"]])
        return lambda: found

    return begin


def _openvino(bundle: Bundle, batch: int, passes: int, threads: int) -> Answer:
    """Compile the export.

    A thread has two requests of its own: while one is computed, the next one waits already, so that what Python
    does between two batches costs nothing. By default OpenVINO binds the thread of every process to the first core,
    which two workers of one machine then share; here none is bound.
    """
    openvino = import_openvino()
    path = Path(bundle.path, f"{EXPORTED[passes > 0]}.xml")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    intake = intake_of(bundle.preset)
    shapes = {"image": [batch, *bundle.geometry.whole]} if intake.image else {}
    shapes |= {"vector": [batch, intake.vector.width]} if intake.vector else {}
    shapes |= {"draw": [max(1, passes), batch]} if passes or bundle.preset.always_draws else {}
    try:
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape(shapes)
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(
            f"openvino {openvino_version()} cannot use {path}: {str(error).strip().splitlines()[-1]}",
            "set model.engine to 'tensorflow', or train again with the openvino that is installed",
        ) from error
    local = threading.local()

    def begin(given: Mapping[str, Array]) -> Callable[[], Array]:
        if not hasattr(local, "requests"):
            local.requests = itertools.cycle([compiled.create_infer_request() for _ in range(AHEAD)])
        request = next(local.requests)
        tensors = {name: openvino.Tensor(given[name], shared_memory=True) for name in shapes}
        request.start_async(tensors)

        def wait() -> Array:
            request.wait()
            tensors.clear()  # held until here
            return np.array(request.get_output_tensor().data)

        return wait

    return begin
