"""SkyServer's SQL service through astroquery, with every kind of wrong answer recognised.

What astroquery 0.4 does and we must know: settings made after its import are ignored, except the base URL,
so release and timeout go as arguments; its cache would keep an error page for ever, so it is off; an
answer that is no table may come back as a table of one column, or be taken for a file name. It keeps
the base URL in a global, so a process asks one query at a time.
"""

import asyncio
import random
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import requests
from astropy.io.ascii import InconsistentTableError
from astropy.utils.exceptions import AstropyWarning
from astroquery.exceptions import RemoteServiceError
from astroquery.sdss import SDSSClass
from astroquery.sdss import conf as astroquery_conf

from cluster.desk import Answer, Lane, Manners
from cluster.politeness import Visit, reach
from pipeline.sources.answers import Trouble, read_table, trouble_in_text
from pipeline.sources.download import retry_after
from pipeline.sources.patience import backoff_s
from schemas.config import Politeness, RunFile, Source
from schemas.errors import SourceDown, SourceError

_ONE_AT_A_TIME = threading.Lock()
_SDSS = SDSSClass()
MOST_REFUSALS = 50


@dataclass(frozen=True)
class SkyServer:
    """A SkyServer, real or its double, and how it is asked; plain data that travels to the workers.

    ``url`` is its real address, where that of the ``source`` may be "sandbox".
    """

    url: str
    manners: Manners
    source: Source
    politeness: Politeness
    backoff_s: float = 1.0

    @classmethod
    def of(cls, run: RunFile, url: str, *, shared: bool) -> "SkyServer":
        """Take the server from a run file; `url` is its real address (the sandbox's, if it is that)."""
        return cls(url, Manners.of(run.politeness, url, shared=shared), run.source, run.politeness)

    @property
    def row_cap(self) -> int:
        """Most rows of one answer."""
        return self.source.row_cap

    def query(self, sql: str, columns: Sequence[str]) -> pa.Table:
        """Ask one query, patiently, and return its rows.

        Parameters
        ----------
        sql : str
            T-SQL.
        columns : sequence of str
            The columns the answer must have; compared without regard to case, and named as given here.

        Returns
        -------
        pyarrow.Table
            Integers as int64 or uint64 (exact), numbers as float64, the rest as text; a column without any
            value has the type null. NULL stays NULL, NaN stays NaN.

        Raises
        ------
        SourceError
            If the server refuses the query, cuts the answer off at its row cap, or keeps failing.
        SourceDown
            If it can not be reached.
        """
        return asyncio.run(self._patiently(sql, columns))

    async def _patiently(self, sql: str, columns: Sequence[str]) -> pa.Table:
        tries = refusals = 0
        async with Visit(reach(self.manners), wanted=1) as visit:
            while True:
                ticket = await visit.ticket(Lane.QUERIES)
                found = await asyncio.to_thread(self._ask, sql, columns)
                if isinstance(found, pa.Table):
                    await visit.alive(ticket)
                    return found
                if found.answer is Answer.GOOD:
                    await visit.alive(ticket)
                else:
                    await visit.bad(ticket, found.answer, found.retry_after_s)
                if found.final:
                    raise SourceError(f"{self.url}: {found.words}", found.remedy)
                refusals += found.answer is Answer.REFUSED
                tries += found.answer is not Answer.REFUSED
                if tries > self.politeness.retries or refusals > MOST_REFUSALS:
                    raise self._giving_up(found, tries + refusals)
                await asyncio.sleep(backoff_s(max(1, tries), self.backoff_s, random.random()))

    def _giving_up(self, trouble: Trouble, tries: int) -> SourceError:
        message = f"{self.url}: {trouble.words} (tried {tries} times)"
        if trouble.answer is Answer.UNREACHABLE:
            return SourceDown(message, "check `source.url` and the network, then run the same command again")
        return SourceError(message, "see whether the server is in order, then run the same command again")

    def _ask(self, sql: str, columns: Sequence[str]) -> pa.Table | Trouble:
        try:
            with _ONE_AT_A_TIME, warnings.catch_warnings():
                # Ids past 2**63 come as text, with a warning; `read_table` turns them into exact uint64.
                warnings.simplefilter("ignore", AstropyWarning)
                astroquery_conf.skyserver_baseurl = self.url.rstrip("/")
                timeout: Any = (self.politeness.connect_timeout_s, self.source.timeout_s)
                table = _SDSS.query_sql(sql, cache=False, timeout=timeout, data_release=self.source.release)
        except requests.RequestException as error:
            return _network_trouble(error)
        except RemoteServiceError as error:
            return trouble_in_text(str(error))
        except (InconsistentTableError, OSError, ValueError, TypeError, IndexError) as error:
            return trouble_in_text(str(error))
        found = read_table(table, columns)
        if isinstance(found, pa.Table) and found.num_rows >= self.row_cap:
            return Trouble(
                f"the answer has {found.num_rows:,} rows, the server's cap, so it was cut off",
                final=True,
                remedy="lower `rows_per_partition`, or set `source.row_cap` to what this server really allows",
            )
        return found


def _network_trouble(error: requests.RequestException) -> Trouble:
    words = f"{type(error).__name__}: {str(error)[:200]}"
    if isinstance(error, requests.ConnectTimeout):
        return Trouble(words, Answer.UNREACHABLE)
    if isinstance(error, requests.Timeout):
        return Trouble("the query took longer than `source.timeout_s`")
    if error.response is not None:
        return _http_trouble(error.response)
    reached = isinstance(
        error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
    )
    return Trouble(words, Answer.GOOD if reached else Answer.UNREACHABLE)


def _http_trouble(response: requests.Response) -> Trouble:
    status = response.status_code
    if status in (429, 503):
        wait_s = retry_after(response.headers.get("Retry-After", ""))
        return Trouble(f"HTTP {status}", Answer.REFUSED, wait_s)
    if status in (502, 504):
        return Trouble(f"HTTP {status}", Answer.UNREACHABLE)
    trouble = trouble_in_text(response.text)
    if trouble.final or status >= 500 or status == 408:
        return trouble if trouble.final else Trouble(f"HTTP {status}")
    return Trouble(
        f"HTTP {status}: {trouble.words}",
        final=True,
        remedy="check `source.url`, `source.release` and the SQL",
    )
