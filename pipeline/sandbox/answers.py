"""Print answers and faults as SkyServer prints them: CSV, JSON, HTML, a black tile."""

import html
import io
import json
from typing import Any

from PIL import Image, ImageDraw

from pipeline.sandbox.database import Answer

OUTSIDE_TEXT = "NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."
_TOO_LONG = (
    "The length of the query string for this request exceeds the configured maxQueryStringLength value."
)


def _printed(value: Any, kind: str) -> str:
    """Print a value with the digits .NET gives it: 7 for ``real``, 15 for ``float``."""
    if value is None:
        return "null"
    if kind == "FLOAT":
        return f"{value:.7G}"
    if kind == "DOUBLE":
        return f"{value:.15G}"
    if isinstance(value, bool):
        return str(value)
    text = str(value)
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def as_csv(answer: Answer) -> str:
    """Print an answer as CSV after a ``#Table1`` line.

    Parameters
    ----------
    answer : Answer
        The rows.
    """
    columns = [[_printed(row[i], kind) for row in answer.rows] for i, kind in enumerate(answer.types)]
    lines = ["#Table1", ",".join(answer.names)]
    lines.extend(map(",".join, zip(*columns, strict=True)))
    return "\n".join(lines) + "\n"


def as_json(answer: Answer) -> str:
    """Print an answer as SkyServer's JSON: a list of tables, each a list of rows.

    Parameters
    ----------
    answer : Answer
        The rows.
    """

    def plain(value: Any, kind: str) -> Any:
        if value is None or isinstance(value, int | str):
            return value
        if kind in ("FLOAT", "DOUBLE"):
            return float(_printed(value, kind))
        return float(value)

    kinds = answer.types
    rows = [
        {name: plain(value, kind) for name, value, kind in zip(answer.names, row, kinds, strict=True)}
        for row in answer.rows
    ]
    return json.dumps([{"TableName": "Table1", "Rows": rows}])


def error_html(message: str) -> str:
    """Return the page that SkyServer's search tools show on a fault, with the mark ``error_message``."""
    return (
        "<html><head>\n<title>Skyserver Error</title>\n</head><body bgcolor=white>\n"
        '<h2>An error occured</h2><H3 BGCOLOR=pink id="error_message"><font color=red>'
        f"{html.escape(message)}<br></font></H3></BODY></HTML>\n"
    )


def error_json(message: str) -> str:
    """Return the body that SkyServer's web services give on a request that is at fault."""
    return json.dumps({"Error Code": 400, "Error Type": "Bad Request", "error_message": message})


def too_long_html() -> str:
    """Return the page that ASP.NET shows for a query string that is too long."""
    return (
        f"<!DOCTYPE html>\n<html><head><title>{_TOO_LONG}</title></head>\n"
        f"<body><h1>Server Error in '/' Application.</h1><h2><i>{_TOO_LONG}</i></h2></body></html>\n"
    )


def busy_html() -> str:
    """Return a maintenance page, as sometimes comes with status 200 instead of what was asked for."""
    return (
        '<!doctype html>\n<html lang="en"><head><title>SkyServer</title></head>\n'
        "<body><h1>SkyServer is busy</h1><p>Please try again in a moment.</p></body></html>\n"
    )


def encode_jpeg(image: Image.Image) -> bytes:
    """Encode a picture as SkyServer does: baseline, 4:2:0, quality 75, JFIF with 96 dots an inch."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75, subsampling="4:2:0", dpi=(96, 96))
    return buffer.getvalue()


def black_tile(width: int, height: int, text: str = "") -> bytes:
    """Return a black JPEG, with text drawn into it if there is any.

    Parameters
    ----------
    width, height : int
        Size [pixel].
    text : str
        What to write.
    """
    image = Image.new("RGB", (width, height))
    if text:
        draw = ImageDraw.Draw(image)
        words = text.split()
        for i in range(0, len(words), 2):
            draw.text((3, 3 + 6 * i), " ".join(words[i : i + 2]), fill=(255, 255, 255))
    return encode_jpeg(image)
