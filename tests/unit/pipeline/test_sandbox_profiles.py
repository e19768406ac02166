import numpy as np
import pytest

from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, Blur, galaxy, point

galsim = pytest.importorskip("galsim", reason="GalSim is the reference that the profiles are checked against")
SIZE, SCALE = 64, 0.396
AXIS = -(np.arange(SIZE) - (SIZE - 1) / 2) * SCALE
BLUR = Blur(1.35)
PSF = galsim.Sum(
    [
        galsim.Gaussian(sigma=v**0.5, flux=w)
        for v, w in zip(BLUR.variances.tolist(), BLUR.weights.tolist(), strict=True)
    ]
)


def by_galsim(profile: "galsim.GSObject") -> np.ndarray:
    # Our first row is north; GalSim's is its lowest y.
    return profile.drawImage(nx=SIZE, ny=SIZE, scale=SCALE, method="no_pixel").array[::-1] / SCALE**2


@pytest.mark.parametrize("radius", [1.0, 3.0])
@pytest.mark.parametrize("kind", ["exponential", "de Vaucouleurs"])
def test_a_galaxy_looks_as_galsim_draws_it(kind: str, radius: float) -> None:
    ratio, angle = 0.5, 30.0
    if kind == "exponential":
        mixture, round_one = EXPONENTIAL, galsim.Exponential(half_light_radius=radius)
    else:
        mixture = DE_VAUCOULEURS
        round_one = galsim.DeVaucouleurs(half_light_radius=radius, trunc=8 * radius, flux_untruncated=True)
    flat = round_one.withFlux(1.0).shear(q=ratio, beta=(90 + angle) * galsim.degrees).dilate(ratio**0.5)
    theirs = by_galsim(galsim.Convolve(flat, PSF))
    ours = galaxy(mixture, BLUR, AXIS, AXIS, shape=(radius, ratio, angle))
    assert np.abs(ours - theirs).max() < 0.03 * theirs.max()
    assert np.abs(ours - theirs).sum() < 0.04 * theirs.sum()


def test_a_star_is_the_psf() -> None:
    assert point(BLUR, AXIS, AXIS) == pytest.approx(by_galsim(PSF), abs=1e-5)


def test_east_is_left_and_north_is_up() -> None:
    # a source 5 arcsec east and 2 arcsec north of the centre
    image = point(BLUR, AXIS - 5.0, AXIS - 2.0)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert column == round((SIZE - 1) / 2 - 5 / SCALE) and row == round((SIZE - 1) / 2 - 2 / SCALE)


def test_a_position_angle_of_45_degrees_points_to_the_north_east() -> None:
    image = galaxy(EXPONENTIAL, BLUR, AXIS, AXIS, shape=(4.0, 0.2, 45.0))
    north_east, north_west = image[20, 20], image[20, SIZE - 1 - 20]
    assert north_east > 5 * north_west
