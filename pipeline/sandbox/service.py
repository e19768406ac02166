"""Answer SkyServer's two services, FITS cutouts and frames, with faults and limits: the HTTP application."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp import web

from pipeline.sandbox import answers, inspirals
from pipeline.sandbox.breakage import break_answer
from pipeline.sandbox.cutout_cache import CutoutCache, ImageRequest
from pipeline.sandbox.database import SkyDatabase
from pipeline.sandbox.faults import FaultPlan
from pipeline.sandbox.fits_answers import FITS_TYPE, NO_OVERLAP_TEXT, no_csst_data, no_data
from pipeline.sandbox.frames import BZIP2_TYPE
from pipeline.sandbox.limits import ConnectionLimit, RateLimit
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.parameters import (
    BadRequestError,
    CsstRequest,
    CutoutRequest,
    FitsRequest,
    FrameRequest,
    SqlRequest,
    read_csst_cutout,
    read_cutout,
    read_fits_cutout,
    read_frame,
    read_sql,
    service_of,
)
from pipeline.sandbox.sky import Sky, WrongGeometryError
from pipeline.sandbox.stats import Stats
from pipeline.sandbox.tsql import SqlRejectedError

PlacedRequest = CutoutRequest | FitsRequest | CsstRequest
# Kinds of faults that need the good answer to break it.
_BROKEN_MIDWAY = ("truncated", "reset")


class SandboxService:
    """The HTTP service over one sky.

    Parameters
    ----------
    sky : Sky
        What it shows.
    options : SandboxOptions
        Limits, faults and the like.
    """

    def __init__(self, sky: Sky, options: SandboxOptions) -> None:
        self._options = options
        functions = {inspirals.NAME: partial(inspirals.inspirals, seed=options.seed)}
        self._database = SkyDatabase(sky.tables, options.row_cap, late=sky.late_tables, functions=functions)
        self._sky = sky
        self._cutouts = CutoutCache(self._paint, options.cache_dir, tag=tag_of(options))
        self._plan = FaultPlan(options.faults)
        self._rate = RateLimit(options.rate_limit_per_s)
        self._connections = ConnectionLimit(options.connection_limit)
        self.stats = Stats()
        # Threads, not processes: drawing spends its time in NumPy and Pillow, which let go of the lock.
        self._drawers = ThreadPoolExecutor(2, thread_name_prefix="draw")
        self._clerk = ThreadPoolExecutor(1, thread_name_prefix="sql")
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and return the base URL, such as ``http://127.0.0.1:8000/``."""
        app = web.Application(client_max_size=4 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Long lines are ours to refuse, with SkyServer's own words.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=30.0,
            max_line_size=2**20,
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._options.host, self._options.port, backlog=512)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def stop(self) -> None:
        """Stop listening and let go of everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._drawers.shutdown(wait=False, cancel_futures=True)
        self._clerk.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        service = service_of(request.path)
        if service == "stats":
            return web.json_response(self.stats.as_dict(len(self._open_connections())))
        self.stats.requests[service or "unknown"] += 1
        response: web.StreamResponse | None = self._refusal(request)
        if response is None:
            if self._options.latency_s > 0:
                await asyncio.sleep(self._options.latency_s)
            response = await self._serve(service, request)
        self.stats.answers[str(response.status)] += 1
        return response

    async def _serve(self, service: str | None, request: web.Request) -> web.StreamResponse:
        try:
            if service == "cutout":
                return await self._answer_cutout(request, read_cutout(await _parameters(request)))
            if service == "fits_cutout":
                return await self._answer_cutout(request, read_fits_cutout(await _parameters(request)))
            if service == "csst_cutout":
                return await self._answer_cutout(request, read_csst_cutout(await _parameters(request)))
            if service == "frame":
                return await self._answer_frame(request, read_frame(request.path))
            if service in ("search_tool", "web_service"):
                if len(request.rel_url.raw_query_string) > self._options.max_query_chars:
                    return _page(answers.too_long_html(), status=400)
                default = "csv" if service == "search_tool" else "json"
                wanted = read_sql(await _parameters(request), default_format=default)
                response = await self._answer_sql(request, wanted, service)
                response.force_close()  # a catalogue session that idles must not count as an open connection
                return response
        except (BadRequestError, WrongGeometryError) as fault:
            return web.json_response(text=answers.error_json(str(fault)), status=400)
        return _page(answers.error_html(f"There is no service at {request.path}."), status=404)

    def _open_connections(self) -> list[object]:
        server = self._runner.server if self._runner is not None else None
        return list(server.connections) if server is not None else []

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Hold the client to the limits; a refusal is a violation, counted with its time."""
        open_now = self._open_connections()
        self.stats.peak_connections = max(self.stats.peak_connections, len(open_now))
        later = {"Retry-After": str(self._options.faults.retry_after_s)}
        if not self._connections.admits(request.protocol, open_now):
            self.stats.violated("connections")
            refusal = web.Response(status=503, text="Too many connections.\n", headers=later)
            refusal.force_close()
            return refusal
        if not self._rate.admits():
            self.stats.violated("rate")
            return web.Response(status=429, text="Too many requests.\n", headers=later)
        return None

    async def _answer_cutout(self, request: web.Request, wanted: PlacedRequest) -> web.StreamResponse:
        kind = self._plan.of_cutout(wanted.ra, wanted.dec, wanted.geometry)
        content_type = "image/jpeg" if isinstance(wanted, CutoutRequest) else FITS_TYPE
        if kind is None:
            body = await self._draw(wanted)
            return (
                self._outside(wanted) if body is None else web.Response(body=body, content_type=content_type)
            )
        self.stats.faults[kind] += 1
        good = await self._draw(wanted) if kind in _BROKEN_MIDWAY else None
        tile = _nothing(wanted)
        faults = self._options.faults
        return await break_answer(
            request, kind, faults, body=good or tile, tile=tile, content_type=content_type
        )

    async def _answer_frame(self, request: web.Request, wanted: FrameRequest) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        kind = self._plan.of_file(wanted.name)
        if self._plan.is_missing(wanted.name):
            self.stats.faults["outside"] += 1
            return web.Response(status=404, text="Not Found\n")
        body = await loop.run_in_executor(self._drawers, self._cutouts.body, wanted)
        if body is None:
            return web.Response(status=404, text="Not Found\n")
        if kind is None:
            return web.Response(body=body, content_type=BZIP2_TYPE)
        self.stats.faults[kind] += 1
        tile = b""
        if kind == "black_200":
            tile = await loop.run_in_executor(self._drawers, self._blank_frame, wanted)
        faults = self._options.faults
        return await break_answer(request, kind, faults, body=body, tile=tile, content_type=BZIP2_TYPE)

    def _blank_frame(self, wanted: FrameRequest) -> bytes:
        return self._sky.frame(wanted, blank=True) or b""

    async def _draw(self, wanted: PlacedRequest) -> bytes | None:
        if self._plan.is_outside(wanted.ra, wanted.dec):
            self.stats.faults["outside"] += 1
            return None
        return await asyncio.get_running_loop().run_in_executor(self._drawers, self._cutouts.body, wanted)

    def _paint(self, wanted: ImageRequest) -> bytes | None:
        if isinstance(wanted, CutoutRequest):
            return self._sky.jpeg(wanted.ra, wanted.dec, wanted.scale, wanted.width, wanted.height)
        if isinstance(wanted, CsstRequest):
            return self._sky.csst(wanted)
        return self._sky.fits(wanted) if isinstance(wanted, FitsRequest) else self._sky.frame(wanted)

    def _outside(self, wanted: PlacedRequest) -> web.Response:
        is_jpeg = isinstance(wanted, CutoutRequest)
        if self._options.faults.outside_as == "tile":
            tile = _nothing(wanted, answers.OUTSIDE_TEXT)
            return web.Response(body=tile, content_type="image/jpeg" if is_jpeg else FITS_TYPE)
        return web.Response(status=404, text=answers.OUTSIDE_TEXT if is_jpeg else NO_OVERLAP_TEXT)

    async def _answer_sql(self, request: web.Request, wanted: SqlRequest, service: str) -> web.StreamResponse:
        kind = self._plan.of_sql(wanted.sql)
        if kind is not None:
            self.stats.faults[f"sql_{kind}"] += 1
            return await break_answer(
                request, kind, self._options.faults, body=b"#Table1\nz\n" * 20, tile=b""
            )
        try:
            text = await self._run_sql(wanted)
        except SqlRejectedError as fault:
            if service == "search_tool":  # the page comes with status 200, as from SkyServer
                return _page(answers.error_html(str(fault)))
            return web.json_response(text=answers.error_json(str(fault)), status=400)
        content_type = "text/csv" if wanted.format == "csv" else "application/json"
        return web.Response(text=text, content_type=content_type, charset="utf-8")

    async def _run_sql(self, wanted: SqlRequest) -> str:
        loop = asyncio.get_running_loop()
        watchdog = loop.call_later(self._options.query_timeout_s, self._database.interrupt)
        try:
            return await loop.run_in_executor(self._clerk, self._print_answer, wanted)
        finally:
            watchdog.cancel()

    def _print_answer(self, wanted: SqlRequest) -> str:
        answer = self._database.query(wanted.sql)
        self.stats.rows_capped += answer.capped
        return answers.as_csv(answer) if wanted.format == "csv" else answers.as_json(answer)


def tag_of(options: SandboxOptions) -> str:
    """Return what names a sky and its seed, so that two skies can share a folder of drawn images."""
    return f"{options.sky}-{options.seed}" + (f"-{options.stamps}" if options.stamps else "")


def _nothing(wanted: PlacedRequest, text: str = "") -> bytes:
    """Return an image with nothing on it, or some words on a JPEG."""
    if isinstance(wanted, CutoutRequest):
        return answers.black_tile(wanted.width, wanted.height, text)
    return no_csst_data(wanted) if isinstance(wanted, CsstRequest) else no_data(wanted)


async def _parameters(request: web.Request) -> dict[str, str]:
    given = dict(request.query)
    if request.method == "POST":
        given |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    return given


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
