"""Exports: a bundle's network once more, in the form that the faster runtime reads (decision 0012).

Made by a process that has TensorFlow anyway, so that those who predict need not import it. The network is frozen
by TensorFlow and read by OpenVINO's own reader of such graphs. Nothing is exported, and nothing is amiss, where
OpenVINO is not installed, cannot read the network, or Keras computes with another framework.
"""

import logging
import os
import tempfile
from collections.abc import Callable
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
        files = _files(EXPORTED[False], _plain(restored(bundle), head))
        if bundle.preset["network"].get("dropout"):
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
    """Return the model of ``images (batch, band, y, x)``; its answers are ``(1, batch, width)``."""
    tensorflow, heads = _tensorflow("tensorflow"), _tensorflow("model.heads")

    def answer(images: Any) -> Any:
        draws = tensorflow.zeros(tensorflow.shape(images)[:1], tensorflow.int32)
        return heads.summarise(network([_last(images), draws], training=False), head)[None]

    return _frozen(answer, [_images(network)])


def _repeated(network: Any, head: Any) -> Any:
    """Return the model of ``images (batch, band, y, x)`` and ``draws (pass, batch)``.

    Its answers are ``(pass, batch, width)``. What comes before the first dropout is the same in every pass, and is
    computed once.
    """
    tensorflow, keras, heads = (_tensorflow(name) for name in ("tensorflow", "keras", "model.heads"))
    trunk, rest = _split(network)

    def answer(images: Any, draws: Any) -> Any:
        passes, batch = tensorflow.shape(draws)[0], tensorflow.shape(images)[0]
        features = keras.tree.flatten(trunk(_last(images), training=False))
        repeated = [tensorflow.tile(x, [passes, *[1] * (len(x.shape) - 1)]) for x in features]
        output = rest([*repeated, tensorflow.reshape(draws, [-1])], training=False)
        answers = heads.summarise(output, head)
        return tensorflow.reshape(answers, [passes, batch, answers.shape[-1]])

    return _frozen(
        answer, [_images(network), tensorflow.TensorSpec((None, None), tensorflow.int32, name="draws")]
    )


def _split(network: Any) -> tuple[Any, Any]:
    """Cut a network where the first dropout of each of its branches is: images to features, and the rest."""
    keras, blocks = _tensorflow("keras"), _tensorflow("model.blocks")
    images, draw = network.inputs
    features: dict[int, Any] = {}
    for layer in network.layers:
        if isinstance(layer, blocks.RowDropout):
            try:
                keras.Model(images, layer.input[0])
            except ValueError:  # it needs the draws: another dropout comes before this one
                continue
            features[id(layer.input[0])] = layer.input[0]
    found = list(features.values())
    return keras.Model(images, found), keras.Model([*found, draw], network.output)


def _tensorflow(module: str) -> Any:
    return import_with_tensorflow(module, threads=1)


def _images(network: Any) -> Any:
    tensorflow = _tensorflow("tensorflow")
    _, y, x, bands = network.inputs[0].shape
    return tensorflow.TensorSpec((None, bands, y, x), tensorflow.uint8, name="images")


def _last(images: Any) -> Any:
    """Move the bands to the last axis, where networks expect them.

    OpenVINO moves a network's own first transposition to wherever it does no harm in principle, which for `light`
    makes everything twice as slow; two transpositions in a row it removes.
    """
    return _tensorflow("tensorflow").transpose(images, (0, 2, 3, 1))


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
    steps = openvino.preprocess.PrePostProcessor(model)
    images = steps.input("images")
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
