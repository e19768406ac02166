"""A source of gravitational waves that tests change in what they are about."""

from pipeline.sources.emri.source import Source

SOURCE = Source(
    mass_solar=1e6,
    mu_solar=10.0,
    spin=0.5,
    e0=0.3,
    p0=10.0,
    iota_rad=0.7,
    theta_s_rad=1.0,
    phi_s_rad=2.0,
    theta_k_rad=0.5,
    phi_k_rad=4.0,
    phase_rad=0.3,
    gamma_rad=0.6,
    alpha_rad=0.9,
    z=0.1,
)
