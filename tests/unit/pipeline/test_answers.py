"""What SkyServer's SQL service may answer, and what is made of it."""

import numpy as np
import pyarrow as pa
import pytest
import requests
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from cluster.desk import Answer, Manners
from pipeline.sources import skyserver
from pipeline.sources.answers import Trouble, _from_text, read_table, trouble_in_text
from pipeline.sources.skyserver import SkyServer, _http_trouble, _network_trouble
from schemas.config import Politeness, Source


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("Invalid column name 'zz'.", True),
        ("Invalid object name 'SpecObjX'.", True),
        ("Incorrect syntax near the keyword 'FROM'.", True),
        ('The multi-part identifier "s.zz" could not be bound.', True),
        ("<html><h2>The length of the query string exceeds maxQueryStringLength</h2></html>", True),
        ("<!DOCTYPE html><title>We will be back soon</title>", False),
        ("<html>Server Error in '/dr17/SkyServerWS' Application. Runtime Error</html>", False),
        ("Timeout expired. The timeout period elapsed prior to completion", False),
        ("Transaction was deadlocked on lock resources", False),
        ('{"error_message": "Something about this query"}', True),
        ('{"error_message": "A network-related error occurred"}', False),
        ("", False),
        ("\x00\xff garbage", False),
    ],
)
def test_only_a_fault_of_the_query_is_final(text, final):
    trouble = trouble_in_text(text)
    assert trouble.final is final and trouble.words
    assert bool(trouble.remedy) is final


def test_a_query_that_is_too_long_has_a_remedy_of_its_own():
    assert "max_query_chars" in trouble_in_text("exceeds the configured maxQueryStringLength value").remedy


@given(st.text(max_size=300))
def test_no_text_whatever_breaks_the_judgement(text):
    assert isinstance(trouble_in_text(text), Trouble)


@given(st.lists(st.none() | st.integers(0, 2**64 - 1), max_size=20))
def test_ids_past_2_to_the_63_come_out_of_text_exact(values):
    column = _from_text([None if value is None else str(value) for value in values])
    assert column.to_pylist() == values


def test_a_number_that_is_none_tells_null_from_nan():
    column = _from_text(["1.5", "nan", "null", None])
    assert column.type == pa.float64() and column.null_count == 2
    assert np.isnan(column[1].as_py())


def test_a_column_without_a_value_has_no_type_so_that_it_fits_the_other_partitions():
    empty = Table({"a": [0, 0], "b": ["", "null"], "c": [0.0, 0.0]}, masked=True)
    for name in "ac":
        empty[name].mask = True
    assert read_table(empty, ["a", "b", "c"]).schema.types == [pa.null()] * 3


def test_columns_are_found_whatever_their_case_and_named_as_asked():
    table = read_table(Table({"SPECOBJID": [1, 2], "Ra": [0.5, 1.5]}), ["specObjID", "ra"])
    assert table.column_names == ["specObjID", "ra"]


def test_no_table_is_an_answer_without_rows():
    assert read_table(None, ["a", "b"]).num_rows == 0


@pytest.mark.parametrize(
    ("table", "final"),
    [
        (Table({"<html>": ["<body>busy</body>"]}), False),
        (Table({"error": ["Invalid column name 'zz'."]}), True),
        (Table({"garbage": ["?"]}), False),
    ],
)
def test_a_page_that_was_taken_for_a_table_is_seen_through(table, final):
    found = read_table(table, ["specobjid", "ra"])
    assert isinstance(found, Trouble) and found.final is final


def test_a_table_of_other_columns_names_those_that_lack():
    found = read_table(Table({"specobjid": [1], "dec": [0.0]}), ["specobjid", "ra"])
    assert isinstance(found, Trouble) and found.final and "lacks ra" in found.words


def reply(status: int, text: str = "", **headers) -> requests.Response:
    response = requests.Response()
    response.status_code, response._content = status, text.encode()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


@pytest.mark.parametrize(
    ("response", "answer", "final"),
    [
        (reply(429, Retry_After="7"), Answer.REFUSED, False),
        (reply(503), Answer.REFUSED, False),
        (reply(502), Answer.UNREACHABLE, False),
        (reply(504), Answer.UNREACHABLE, False),
        (reply(500, "<html>Oops</html>"), Answer.GOOD, False),
        (reply(500, "Invalid column name 'zz'."), Answer.GOOD, True),
        (reply(408), Answer.GOOD, False),
        (reply(404, "<html>Not here</html>"), Answer.GOOD, True),
        (reply(414, "Request URL Too Long"), Answer.GOOD, True),
    ],
)
def test_http_errors_are_told_apart(response, answer, final):
    trouble = _http_trouble(response)
    assert (trouble.answer, trouble.final) == (answer, final)
    assert trouble.retry_after_s == (7.0 if "Retry-After" in response.headers else 0.0)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (requests.ConnectTimeout(), Answer.UNREACHABLE),
        (requests.ConnectionError(), Answer.UNREACHABLE),
        (requests.ReadTimeout(), Answer.GOOD),
        (requests.exceptions.ChunkedEncodingError(), Answer.GOOD),
        (requests.HTTPError(response=reply(503)), Answer.REFUSED),
    ],
)
def test_a_server_that_is_slow_is_told_from_one_that_is_not_there(error, answer):
    trouble = _network_trouble(error)
    assert trouble.answer is answer and not trouble.final


def test_an_answer_as_long_as_the_cap_counts_as_cut_off(monkeypatch):
    server = SkyServer("http://sky", Manners("http://sky"), Source(row_cap=3), Politeness())
    monkeypatch.setattr(skyserver._SDSS, "query_sql", lambda *_, **__: Table({"a": [1, 2, 3]}))
    found = server._ask("SELECT a FROM b", ["a"])
    assert isinstance(found, Trouble) and found.final and "cut off" in found.words
