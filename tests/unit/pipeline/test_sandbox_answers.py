import io
import json

from PIL import Image

from pipeline.sandbox.answers import as_csv, as_json, black_tile, error_html, error_json, too_long_html
from pipeline.sandbox.database import Answer

ANSWER = Answer(
    names=("objID", "ra", "zErr", "class", "flag"),
    types=("BIGINT", "DOUBLE", "FLOAT", "VARCHAR", "INTEGER"),
    rows=[(1237661059574334072, 49.9325721909726, 6.971062e-06, "GALAXY", None), (1, 30.0, 0.5, 'a,"b"', 0)],
    capped=False,
)


def test_csv_has_the_table_line_and_the_digits_of_dotnet() -> None:
    # the first row's numbers are spelled as in a recorded SkyServer answer
    assert as_csv(ANSWER) == (
        "#Table1\nobjID,ra,zErr,class,flag\n"
        "1237661059574334072,49.9325721909726,6.971062E-06,GALAXY,null\n"
        '1,30,0.5,"a,""b""",0\n'
    )


def test_an_empty_answer_is_a_header() -> None:
    assert as_csv(Answer(("z",), ("FLOAT",), [], False)) == "#Table1\nz\n"


def test_json_is_a_list_of_tables_with_exact_ids() -> None:
    [table] = json.loads(as_json(ANSWER))
    assert table["TableName"] == "Table1"
    assert list(table["Rows"][0]) == list(ANSWER.names)
    assert list(table["Rows"][0].values()) == [
        1237661059574334072,
        49.9325721909726,
        6.971062e-06,
        "GALAXY",
        None,
    ]


def test_error_bodies_carry_what_clients_look_for() -> None:
    assert "error_message" in error_html("x < y") and "x &lt; y" in error_html("x < y")
    assert json.loads(error_json("no"))["error_message"] == "no"
    assert "maxQueryStringLength" in too_long_html()


def test_the_tile_is_a_baseline_jpeg_as_skyserver_encodes() -> None:
    image = Image.open(io.BytesIO(black_tile(120, 90, "NOT FOUND.")))
    assert image.size == (120, 90)
    assert image.info["dpi"] == (96, 96) and "progressive" not in image.info
    assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]
    assert image.convert("L").getextrema()[1] > 150
    assert Image.open(io.BytesIO(black_tile(120, 90))).convert("L").getextrema() == (0, 0)
