"""Which source of images a run has."""

from collections.abc import Callable

from pipeline.sources.csst import CsstSource
from pipeline.sources.cutouts import CutoutSource
from pipeline.sources.frames import FrameSource
from pipeline.sources.images import ImageSource
from pipeline.sources.legacy import LegacySource, layers_of
from pipeline.sources.nothing import NoSource
from pipeline.sources.signals import SignalSource
from pipeline.sources.windows import MosaicSource, SceneSource
from schemas.config import RunFile
from schemas.images import Images
from schemas.imaging import CSST, EMRI, FRAMES, JPEG, LEGACY, LOCAL, MOSAIC, NONE, SCENES, filters_of


def source_of(run_file: RunFile, catalogue_url: str) -> ImageSource:
    """Return the source of a run's images.

    Parameters
    ----------
    run_file : RunFile
        The run.
    catalogue_url : str
        The catalogue server's real address (the sandbox's, if it is that).
    """
    server = run_file.image_server
    url = catalogue_url if server == run_file.source.url else server
    sources: dict[str, Callable[[RunFile, str], ImageSource]] = {
        JPEG: CutoutSource.of,
        LEGACY: LegacySource.of,
        FRAMES: FrameSource.of,
        CSST: CsstSource.of,
        EMRI: SignalSource.of,
        SCENES: SceneSource.of,
        MOSAIC: MosaicSource.of,
        NONE: NoSource.of,
    }
    return sources[run_file.images.source](run_file, url)


def requests_per_row(images: Images) -> int:
    """Return how many requests the images of one row take; at most, where rows of a field share them."""
    if images.source in LOCAL:
        return 0
    if images.source in (JPEG, CSST):
        return 1
    return len(layers_of(images.bands) if images.source == LEGACY else filters_of(images.bands))
