"""The classes of pixels that a run's network tells."""

from model.presets import load_preset
from schemas.config import RunFile


def classes_of(run_file: RunFile) -> tuple[str, ...]:
    """Return the classes of pixels that the run's network tells; none for one that tells something else."""
    head = load_preset(run_file.model.preset, run_file.model.overrides)["head"]
    return tuple(head["classes"]) if head["kind"] == "pixel" else ()


def background_of(run_file: RunFile) -> str:
    """Return which of the classes is no source."""
    head = load_preset(run_file.model.preset, run_file.model.overrides)["head"]
    return str(head["background"])
