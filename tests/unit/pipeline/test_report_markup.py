import numpy as np

from pipeline.report.cubes import magnitude_column
from pipeline.report.figure import BLUE, canvas, for_the_page, running
from pipeline.report.markup import Raw, count, decimal, sentence, table


def test_a_servers_words_cannot_become_markup() -> None:
    shown = table(["detail"], [["<script>alert(1)</script> & more"]])
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in shown


def test_only_raw_text_is_trusted() -> None:
    assert sentence("<b>") == "<p>&lt;b&gt;</p>"
    assert sentence(Raw("<b>x</b>")) == "<p><b>x</b></p>"


def test_numbers_are_written_as_in_print() -> None:
    assert count(4_000_000_000) == "4\u202f000\u202f000\u202f000"
    assert decimal(-0.5, digits=1) == "−0.5"
    assert decimal(float("inf")) == "–"


def test_first_columns_are_words_and_the_others_numbers() -> None:
    shown = table(["reason", "galaxies"], [["timeout", "3"]])
    assert "<td>timeout</td><td class=number>3</td>" in shown


def test_an_r_band_magnitude_is_preferred_and_errors_are_not_magnitudes() -> None:
    assert magnitude_column(["modelMagErr_r", "petroMag_i", "petroMag_r", "extinction_r"]) == "petroMag_r"
    assert magnitude_column(["mag_g"]) == "mag_g"
    assert magnitude_column(["plate", "velDisp", "zErr", "magnetic_field_x", "run"]) is None


def test_a_figure_follows_the_pages_colours_and_fonts() -> None:
    with canvas("first") as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=BLUE)
        drawn.axes.set_xlabel("z_{spec}")
    assert drawn.svg.startswith("<svg")
    assert "var(--blue)" in drawn.svg and BLUE not in drawn.svg
    assert "var(--sans)" in drawn.svg
    assert ">spec</tspan>" in drawn.svg and "z_{spec}" not in drawn.svg
    assert "<style" not in drawn.svg and "<metadata" not in drawn.svg


def test_the_same_drawing_twice_is_the_same_markup() -> None:
    def draw() -> str:
        with canvas("again") as drawn:
            drawn.axes.plot([0, 1], [0, 1])
        return drawn.svg

    assert draw() == draw()


def test_ids_of_two_figures_cannot_meet() -> None:
    body = '<svg width="1pt" height="2pt"><g id="clip"/><use xlink:href="#clip"/><g clip-path="url(#clip)"/></svg>'
    shown = for_the_page(body, "left")
    assert 'id="left-clip"' in shown and 'href="#left-clip"' in shown and "url(#left-clip)" in shown
    assert "width=" not in shown and "height=" not in shown


def test_the_running_band_holds_68_percent() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.random(40_000), generator.normal(size=40_000)
    centres, median, low, high = running(x, y, bins=8)
    assert len(centres) == 8 and (np.diff(centres) > 0).all()
    np.testing.assert_allclose(median, 0, atol=0.06)
    np.testing.assert_allclose(high, 1, atol=0.08)
    np.testing.assert_allclose(low, -1, atol=0.08)


def test_few_points_make_few_bins() -> None:
    assert len(running(np.arange(30.0), np.zeros(30), least=25)[0]) == 1
    assert len(running(np.array([1.0]), np.array([0.0]))[0]) == 1
