"""Break an answer in one of the ways that servers break answers."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from pipeline.sandbox.answers import busy_html
from pipeline.sandbox.options import Faults


async def break_answer(
    request: web.Request,
    kind: str,
    faults: Faults,
    *,
    body: bytes,
    tile: bytes,
    content_type: str = "image/jpeg",
) -> web.StreamResponse:
    """Answer wrongly.

    Parameters
    ----------
    request : aiohttp.web.Request
        What was asked.
    kind : str
        One of `pipeline.sandbox.options.TRANSIENT_KINDS`.
    faults : Faults
        How long to stall and what to ask for in ``Retry-After``.
    body : bytes
        The good answer, for those that break it midway.
    tile : bytes
        An image of the size asked for with nothing on it.
    content_type : str
        What images are said to be.
    """
    whole = {
        "error_500": lambda: web.Response(status=500, text="Internal Server Error\n"),
        "unavailable_503": lambda: _later(503, "Service Unavailable\n", faults),
        "too_many_429": lambda: _later(429, "Too Many Requests\n", faults),
        "html_200": lambda: web.Response(text=busy_html(), content_type="text/html"),
        "black_200": lambda: web.Response(body=tile, content_type=content_type),
    }
    make: Callable[[], web.Response] | None = whole.get(kind)
    if make is not None:
        return make()
    if kind == "truncated":
        return await _short(request, body, content_type)
    if kind == "stall":
        await asyncio.sleep(faults.stall_s)
        return _cut(request, web.StreamResponse(status=200))
    return await _reset_midway(request, body, content_type)


def _later(status: int, text: str, faults: Faults) -> web.Response:
    return web.Response(status=status, text=text, headers={"Retry-After": str(faults.retry_after_s)})


async def _short(request: web.Request, body: bytes, content_type: str) -> web.StreamResponse:
    """Give the first part of an image as if it were all: half of them with a length, half without."""
    part = body[: max(len(body) * 3 // 5, 2)]
    if len(body) % 2:
        return web.Response(body=part, content_type=content_type)
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(part)
    await response.write_eof()
    return response


async def _reset_midway(request: web.Request, body: bytes, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _cut(request, response)


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Drop the connection without a goodbye."""
    if request.transport is not None:
        request.transport.abort()
    return response
