import pytest

from pipeline.sandbox.parameters import BadRequestError, read_cutout, read_sql, service_of


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/dr17/en/tools/search/x_results.aspx", "search_tool"),
        ("//dr17/en/tools/search/x_results.aspx", "search_tool"),
        ("/dr8/en/tools/search/x_sql.asp", "search_tool"),
        ("/mirror/sdss/dr16/SkyserverWS/SearchTools/SqlSearch", "web_service"),
        ("/dr18/SkyServerWS/ImgCutout/getjpeg", "cutout"),
        ("/_stats", "stats"),
        ("/", None),
        ("/SkyServerWS/ImgCutout/getjpeg", None),
    ],
)
def test_any_release_and_any_leading_path_reach_the_service(path: str, service: str | None) -> None:
    assert service_of(path) == service


def test_a_cutout_is_read_in_any_case_and_ra_is_wrapped() -> None:
    wanted = read_cutout({"RA": "-1.5", "dec": "2", "Scale": "0.3", "width": "128", "HEIGHT": "64"})
    assert (wanted.ra, wanted.dec, wanted.scale, wanted.width, wanted.height) == (358.5, 2.0, 0.3, 128, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ra": "x"},
        {"ra": "nan"},
        {"dec": "91"},
        {"width": "63"},
        {"height": "2049"},
        {"scale": "0"},
        {"dec": ""},
    ],
)
def test_a_wrong_cutout_is_refused(wrong: dict) -> None:
    with pytest.raises(BadRequestError):
        read_cutout({"ra": "1", "dec": "2", "width": "64", "height": "64"} | wrong)


def test_a_missing_position_or_query_is_named() -> None:
    with pytest.raises(BadRequestError, match="dec"):
        read_cutout({"ra": "1"})
    with pytest.raises(BadRequestError, match="cmd"):
        read_sql({"format": "csv"}, default_format="csv")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(BadRequestError, match="fits"):
        read_sql({"cmd": "SELECT 1", "format": "fits"}, default_format="csv")
