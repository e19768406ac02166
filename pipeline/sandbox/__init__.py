"""A small sky that answers as SkyServer does: SQL search and JPEG cutouts, with faults by seed.

It answers FITS cutouts as the Legacy Surveys' service does, and SDSS's frames.

``options``       what a sandbox is told to be: sky, limits, faults
``service``       the HTTP application; ``server`` serves a sky with it; ``process`` runs that as a child;
                  ``main`` is the command-line verb
``parameters``    what a client asks for: which service, which query, which cutout
``tsql``          Transact-SQL said in DuckDB's dialect; ``database`` runs it; ``answers`` prints the rows
``sky``           the one seam: tables, and a cutout by position
``default_sky``   10,000 real SDSS galaxies, drawn. ``catalogue``: the galaxies; ``morphology``: their shapes;
                  ``tables``, ``spectra``, ``ids``: as SDSS lays them out; ``field``, ``profiles``, ``draw``:
                  neighbours, light, noise, colours. ``view``: where pixels are. For FITS: ``cameras``, ``brightness``,
                  ``infrared``, ``painting``, ``fits_answers``, ``frames``, ``tractor``
``scenes``        fields whose every pixel has a known class; ``scene_sources``: what lies in them
``csst``          a survey of seven bands from space that is only simulated
``recorded_sky``  a folder of recorded answers; ``picture_folder``: labelled pictures taken for one
``faults``        what goes wrong, by seed; ``breakage`` does it; ``limits`` and ``stats`` watch the client
``cutout_cache``  what was drawn before
"""
