"""Status of an object's cutout, and bits of its prediction.

A status is stored with every row of the cube (array ``status``). ``PENDING`` is the fill value, so a
shard that was never written can not be taken for a good one.
"""

from enum import IntEnum, IntFlag


class Status(IntEnum):
    """Outcome of one cutout; values are stored in cubes and never change their meaning."""

    PENDING = 0
    OK = 1
    # permanent: asking again gives the same answer
    OUTSIDE_FOOTPRINT = 10
    NOT_FOUND = 11
    REFUSED = 12
    BAD_POSITION = 13
    WRONG_SIZE = 14
    DUPLICATE = 15
    WRONG_HEADER = 16
    """A FITS header that contradicts itself or what was asked: bands, unit, pixel scale, position."""
    INVALID = 17
    """Parameters outside the range of what is to be computed from them."""
    BAD_SCALE = 18
    """The row's own scale is no number, or none that the server takes; it was not asked for."""
    # retryable: `skymill retry` asks again
    SERVER_ERROR = 30
    THROTTLED = 31
    CONNECTION = 32
    TIMEOUT = 33
    TRUNCATED = 34
    NOT_AN_IMAGE = 35
    ERROR_PAGE = 36
    BLANK = 37
    TOO_LARGE = 38
    BLOCK_LOST = 39
    """The workers that fetched its block died."""
    NOT_PREDICTED = 40
    """The cutout is good; the workers that predicted its block died. Never stored in a cube."""

    @property
    def permanent(self) -> bool:
        """Whether asking again would be in vain."""
        return 10 <= self < 30

    @property
    def retryable(self) -> bool:
        """Whether asking again may help."""
        return self >= 30

    @property
    def reason(self) -> str:
        """The words of the ledger and the report: ``server error``, ``outside footprint``."""
        return self.name.lower().replace("_", " ")


class Part(IntEnum):
    """Which part of the split a row belongs to (array ``split``)."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2
    CALIBRATION = 3
    """Neither learnt from, nor validated with, nor tested on: recalibration is learnt from it."""
    UNLABELLED = 255


class PredictionFlag(IntFlag):
    """Bits of the ``flags`` column of a catalogue; 0 means that nothing is to be said."""

    EDGE = 1
    """The estimate lies in the first or last bin of the PDF's range: the truth may lie outside."""
    MULTIMODAL = 2
    """The PDF has a second peak at least half as high as the first."""
    WIDE = 4
    """The standard deviation of the PDF is above 0.1 (1 + z)."""
    NOT_FINITE = 8
    """The network gave no finite number; the estimate is NaN."""
