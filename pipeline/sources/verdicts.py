"""What an answer is worth: a status and words that say why, before anybody looks at pixels."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schemas.arrays import DIGEST_BYTES
from schemas.flags import Status

FOOTPRINT_WORDS = (b"outside the sdss footprint", b"no overlap")
LONGEST_WORDS = 65_536
"""So much of a body [bytes] is searched for words."""
_PERMANENT_HTTP = {400, 401, 403, 405, 406, 410, 414, 451}


@dataclass(frozen=True)
class Verdict:
    """What answers are worth: a status, in words why, and for good ones pixels ``(y, x, band)`` and digest.

    ``request`` is the number of the request whose answer is to blame; None blames all of the row's. ``if_same`` is
    what it means if the very same answer, by its digest, comes again each time. ``target``
    ``(y, x, class)`` are the labels of the pixels, where they have any.
    """

    status: Status
    detail: str = ""
    pixels: np.ndarray | None = None
    digest: bytes = b""
    request: int | None = None
    if_same: Status | None = None
    target: np.ndarray | None = None


def digest_of(bodies: Iterable[bytes | memoryview]) -> bytes:
    """Return the stored digest of what an image was made from: the bodies of answers, or arrays."""
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(body)
    return digest.digest()[:DIGEST_BYTES]


def judge_status(http_status: int, body: bytes) -> Verdict | None:
    """Judge an answer by its HTTP status; None means that the body decides."""
    if http_status == 200:
        return None
    detail = f"HTTP {http_status}"
    if http_status in (404, 400) and is_outside(body):
        return Verdict(Status.OUTSIDE_FOOTPRINT, detail)
    if http_status == 404:
        return Verdict(Status.NOT_FOUND, detail)
    if http_status in (429, 503):
        return Verdict(Status.THROTTLED, detail)
    if http_status in (408, 504):
        return Verdict(Status.TIMEOUT, detail)
    if http_status in _PERMANENT_HTTP:
        return Verdict(Status.REFUSED, detail)
    return Verdict(Status.SERVER_ERROR, detail)


def is_outside(body: bytes) -> bool:
    """Say whether a body says in words that the position is outside the survey."""
    said = body[:LONGEST_WORDS].lower()
    return any(words in said for words in FOOTPRINT_WORDS)


def judge_words(body: bytes, content_type: str) -> Verdict:
    """Judge a body of status 200 that is no image: words, a page, nothing, or something else."""
    if is_outside(body):
        return Verdict(Status.OUTSIDE_FOOTPRINT, "the server says so in words")
    head = body[:4096].lower()
    words = " ".join(body[:200].decode("ascii", "replace").split())[:80]
    if "html" in content_type or head.lstrip().startswith((b"<!doctype", b"<html", b"<")) or b"error" in head:
        return Verdict(Status.ERROR_PAGE, f"{content_type or 'no content type'}: {words}")
    if not body:
        return Verdict(Status.TRUNCATED, "empty body")
    return Verdict(Status.NOT_AN_IMAGE, f"{content_type or 'no content type'}, {len(body):,} bytes")
