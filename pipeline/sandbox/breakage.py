"""Break an answer in one of the ways that servers break answers."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from pipeline.sandbox.answers import busy_html
from pipeline.sandbox.options import Faults


async def break_answer(
    request: web.Request, kind: str, faults: Faults, *, body: bytes, tile: bytes
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
        A black JPEG of the size asked for.
    """
    whole = {
        "error_500": lambda: web.Response(status=500, text="Internal Server Error\n"),
        "unavailable_503": lambda: _later(503, "Service Unavailable\n", faults),
        "too_many_429": lambda: _later(429, "Too Many Requests\n", faults),
        "html_200": lambda: web.Response(text=busy_html(), content_type="text/html"),
        "black_200": lambda: web.Response(body=tile, content_type="image/jpeg"),
    }
    make: Callable[[], web.Response] | None = whole.get(kind)
    if make is not None:
        return make()
    if kind == "truncated":
        return await _short(request, body)
    if kind == "stall":
        await asyncio.sleep(faults.stall_s)
        return _cut(request, web.StreamResponse(status=200))
    return await _reset_midway(request, body)


def _later(status: int, text: str, faults: Faults) -> web.Response:
    return web.Response(status=status, text=text, headers={"Retry-After": str(faults.retry_after_s)})


async def _short(request: web.Request, body: bytes) -> web.StreamResponse:
    """Give the first part of a JPEG as if it were all: half of them with a length, half without."""
    part = body[: max(len(body) * 3 // 5, 2)]
    if len(body) % 2:
        return web.Response(body=part, content_type="image/jpeg")
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(part)
    await response.write_eof()
    return response


async def _reset_midway(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _cut(request, response)


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Drop the connection without a goodbye."""
    if request.transport is not None:
        request.transport.abort()
    return response
