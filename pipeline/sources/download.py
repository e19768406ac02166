"""One HTTP request for an image: every way it can go, told apart."""

import email.utils
import time
from dataclasses import dataclass

import aiohttp

from cluster.desk import Answer
from pipeline.sources.images import Asking
from schemas.flags import Status

GATEWAY_DOWN = (502, 504)
USER_AGENT = "skymill/0.1 (survey pipeline; obeys Retry-After)"


@dataclass(frozen=True)
class Reply:
    """A whole answer, or why there is none.

    ``answer`` is what the politeness desk should hear. ``fault`` is set if the body can not be used at all.
    """

    answer: Answer
    http_status: int = 0
    content_type: str = ""
    body: bytes = b""
    retry_after_s: float = 0.0
    fault: Status | None = None
    detail: str = ""


def open_session(asking: Asking, connections: int) -> aiohttp.ClientSession:
    """Open a session of at most `connections`, which must be as many as there are askers.

    Each socket operation has its timeout, and the whole request has ``asking.guard_s``: that never counts a
    wait for a connection, because nobody has to wait for one.
    """
    timeout = aiohttp.ClientTimeout(
        total=asking.guard_s, sock_connect=asking.connect_timeout_s, sock_read=asking.read_timeout_s
    )
    # Idle connections end soon: a server counts them too when the desk lowers how many we may use.
    connector = aiohttp.TCPConnector(
        limit=connections, limit_per_host=connections, keepalive_timeout=5.0, ttl_dns_cache=300
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers={"User-Agent": USER_AGENT},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def download(session: aiohttp.ClientSession, url: str, *, max_bytes: int) -> Reply:
    """Send one GET and read the whole answer, but no more than `max_bytes`.

    Never raises for what a server or a network can do.
    """
    headers_seen = False
    try:
        async with session.get(url) as response:
            headers_seen = True
            if (response.content_length or 0) > max_bytes:
                response.close()
                return _too_large(response.status, response.content_length or 0)
            body = bytearray(await response.content.readany())
            while piece := await response.content.readany():
                body += piece
                if len(body) > max_bytes:
                    break
            if len(body) > max_bytes:
                response.close()
                return _too_large(response.status, len(body))
            return _reply(response, bytes(body))
    except TimeoutError as error:
        answer = Answer.GOOD if headers_seen else Answer.UNREACHABLE
        return Reply(answer, fault=Status.TIMEOUT, detail=_words(error))
    except aiohttp.ClientPayloadError as error:
        return Reply(Answer.GOOD, fault=Status.TRUNCATED, detail=_words(error))
    except (aiohttp.ClientConnectionError, OSError) as error:
        answer = Answer.GOOD if headers_seen else Answer.UNREACHABLE
        return Reply(
            answer, fault=Status.TRUNCATED if headers_seen else Status.CONNECTION, detail=_words(error)
        )
    except (aiohttp.ClientError, ValueError) as error:
        return Reply(Answer.GOOD, fault=Status.SERVER_ERROR, detail=_words(error))


async def is_alive(session: aiohttp.ClientSession, url: str, *, max_bytes: int) -> bool:
    """Ask the server's front page; any answer but a gateway's "nobody there" counts as life."""
    reply = await download(session, url.rstrip("/") + "/", max_bytes=max_bytes)
    return reply.answer is not Answer.UNREACHABLE


def _reply(response: aiohttp.ClientResponse, body: bytes) -> Reply:
    if response.status in (429, 503):
        answer = Answer.REFUSED
    else:
        answer = Answer.UNREACHABLE if response.status in GATEWAY_DOWN else Answer.GOOD
    content_type = response.headers.get("Content-Type", "").lower()
    wait_s = retry_after(response.headers.get("Retry-After", ""))
    return Reply(answer, response.status, content_type, body, wait_s)


def _too_large(http_status: int, size: int) -> Reply:
    return Reply(Answer.GOOD, http_status, fault=Status.TOO_LARGE, detail=f"{size:,} bytes or more")


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def retry_after(value: str, now_s: float | None = None) -> float:
    """Return the seconds a ``Retry-After`` header asks for, in either of its two forms; 0 if it asks nothing.

    Examples
    --------
    >>> retry_after("2.5"), retry_after(""), retry_after("soon")
    (2.5, 0.0, 0.0)
    >>> retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now_s=20.0)
    40.0
    """
    if not value:
        return 0.0
    try:
        return max(0.0, float(value)) if float(value) < float("inf") else 0.0
    except ValueError:
        pass
    try:
        then_s = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, then_s - (time.time() if now_s is None else now_s))
