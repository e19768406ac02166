"""A mock of the China Space Station Survey Telescope's sky: seven bands, real HST shapes, known redshifts.

``bands``        the survey: filters, depth, noise, PSF, pixel, and what one count of an image is worth
``starlight``    spectra of stellar populations, and the lines of ionised gas
``attenuation``  dust in the galaxy, hydrogen between it and us
``palette``      band fluxes of every ingredient, by redshift and reddening
``population``   which galaxies there are: magnitude, redshift, size, bulge and disc; ``ingredients``: their stars
``stamps``       real HST images of galaxies, scaled, turned and blurred to CSST's PSF
``drawing``      light in seven bands, and the noise
``photometry``   fluxes measured on the drawn images, and what is flagged
``counter``      what a sandbox serves of it: the table ``Csst``, and images by position
``sky``          all of it together: row, image, table and FITS file of galaxy n
"""
