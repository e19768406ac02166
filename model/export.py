"""Exports: a bundle's network once more, in the form that the faster runtime reads (decision 0012).

Made by a process that has TensorFlow anyway, so that those who predict need not import it. The network is frozen
by TensorFlow and read by OpenVINO's own reader of such graphs. Nothing is exported, and nothing is amiss, where
OpenVINO is not installed, cannot read the network, or Keras computes with another framework.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model.bundles import EXPORTS, add_export, load_bundle
from model.runtimes import EXPORTED, import_openvino, openvino_version, restored
from model.threads import import_with_tensorflow

logger = logging.getLogger(__name__)


def export_bundle(folder: Path) -> bool:
    """Add the export to the bundle in `folder`, and say whether there is one now.

    The same bundle gives the same files, byte for byte. What goes wrong is logged: the bundle is whole without them.

    Raises
    ------
    ModelError
        The bundle is damaged.
    """
    if not openvino_version() or os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return False
    bundle = load_bundle(folder)
    head = bundle.preset["head"]
    try:
        plain = _repeated if bundle.preset.always_draws else _plain
        files = _files(EXPORTED[False], plain(restored(bundle), head))
        if bundle.preset.drops:
            files |= _files(EXPORTED[True], _repeated(restored(bundle, monte_carlo=True), head))
        add_export(folder, files, openvino_version())
    except Exception as error:  # whatever it is: the bundle is whole without it
        words = str(error).strip() or type(error).__name__
        logger.warning("no export, TensorFlow will predict: %s", words.splitlines()[-1])
        for name in EXPORTS:
            (folder / name).unlink(missing_ok=True)
        return False
    return True


def _plain(network: Any, head: Any) -> Any:
    """Return the model of the network's inputs but the draws; its answers are ``(1, batch, width)``."""
    tensorflow, heads = _tensorflow("tensorflow"), _tensorflow("model.heads")
    signature = _inputs(network)

    def answer(*inputs: Any) -> Any:
        draws = tensorflow.zeros(tensorflow.shape(inputs[0])[:1], tensorflow.int32)
        return heads.summarise(network([*_as_kept(inputs, signature), draws], training=False), head)[None]

    return _frozen(answer, signature)


def _repeated(network: Any, head: Any) -> Any:
    """Return the model of the network's inputs, of which the draws are ``(pass, batch)``.

    Its answers are ``(pass, batch, width)``. What comes before the first dropout is the same in every pass, and is
    computed once.
    """
    tensorflow, keras, heads = (_tensorflow(name) for name in ("tensorflow", "keras", "model.heads"))
    trunk, rest = _split(network)
    signature = _inputs(network)

    def answer(*tensors: Any) -> Any:
        *inputs, draws = tensors
        passes, batch = tensorflow.shape(draws)[0], tensorflow.shape(draws)[1]
        features = keras.tree.flatten(trunk(_as_kept(inputs, signature), training=False))
        repeated = [tensorflow.tile(x, [passes, *[1] * (len(x.shape) - 1)]) for x in features]
        output = rest([*repeated, tensorflow.reshape(draws, [-1])], training=False)
        answers = heads.summarise(output, head)
        return tensorflow.reshape(answers, [passes, batch, answers.shape[-1]])

    return _frozen(answer, [*signature, tensorflow.TensorSpec((None, None), tensorflow.int32, name="draw")])


def _split(network: Any) -> tuple[Any, Any]:
    """Cut a network where its inputs are last seen without draws: inputs to features, and the rest.

    The features are what the first dropout of each branch is applied to, and what of the other branches is put together
    with what comes after one.
    """
    keras = _tensorflow("keras")
    *inputs, draw = network.inputs
    drawn, features = {id(draw)}, dict[int, Any]()
    for operation in network.operations:
        begins, ends = keras.tree.flatten(operation.input), keras.tree.flatten(operation.output)
        if any(id(x) in drawn for x in begins) and not any(end is draw for end in ends):
            drawn.update(map(id, ends))
            features |= {id(x): x for x in begins if id(x) not in drawn}
    found = list(features.values())
    return keras.Model(inputs, found), keras.Model([*found, draw], network.output)


def _tensorflow(module: str) -> Any:
    return import_with_tensorflow(module, threads=1)


def _inputs(network: Any) -> list[Any]:
    """Return what an exported function takes: the network's inputs but the draws, the bands of images first."""
    tensorflow = _tensorflow("tensorflow")
    return [
        tensorflow.TensorSpec(
            (None, *((x.shape[-1], *x.shape[1:-1]) if _is_image(x) else x.shape[1:])), x.dtype, name=x.name
        )
        for x in network.inputs[:-1]
    ]


def _is_image(x: Any) -> bool:
    return x.name == "image" and len(x.shape) == 4


def _as_kept(inputs: Sequence[Any], signature: list[Any]) -> list[Any]:
    """Return inputs with the bands of images on the last axis, where networks expect them.

    OpenVINO moves a network's own first transposition to wherever it does no harm in principle, which for `light`
    makes everything twice as slow; two transpositions in a row it removes.
    """
    transpose = _tensorflow("tensorflow").transpose
    return [
        transpose(x, (0, 2, 3, 1)) if _is_image(spec) else x
        for x, spec in zip(inputs, signature, strict=True)
    ]


def _frozen(function: Callable[..., Any], signature: list[Any]) -> Any:
    """Return OpenVINO's model of a TensorFlow function, its variables made constants."""
    tensorflow = _tensorflow("tensorflow")
    constants = _tensorflow("tensorflow.python.framework.convert_to_constants")
    traced = tensorflow.function(function, input_signature=signature, autograph=False)
    graph = constants.convert_variables_to_constants_v2(traced.get_concrete_function()).graph
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frozen.pb")
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return import_openvino().Core().read_model(path)


def _files(name: str, model: Any) -> dict[str, bytes]:
    """Return the two files of a model that takes images ``(batch, y, x, band)`` as they are stored."""
    openvino = import_openvino()
    _name_operations(model)
    if any(given.get_any_name() == "image" and len(given.partial_shape) == 4 for given in model.inputs):
        steps = openvino.preprocess.PrePostProcessor(model)
        images = steps.input("image")
        images.tensor().set_layout(openvino.Layout("NHWC"))
        images.model().set_layout(openvino.Layout("NCHW"))
        model = steps.build()
        _name_operations(model)
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, f"{name}.xml"), compress_to_fp16=False)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _name_operations(model: Any) -> None:
    """Name inputs as the function's arguments, and all else by number.

    The names it has count what this process built and converted before.
    """
    for number, operation in enumerate(model.get_ordered_ops()):
        is_input = operation.get_type_name() == "Parameter"
        name = operation.get_friendly_name().split(":")[0] if is_input else f"{number}"
        operation.set_friendly_name(name)
        for output in operation.outputs():
            output.get_tensor().set_names({name} if is_input else set())
