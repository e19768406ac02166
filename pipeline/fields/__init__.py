"""Fields: mosaics in several bands, and what the classes of their pixels are turned into.

``mosaic``        FITS images, a file a band, read in parts
``results``       the maps of votes, written tile by tile; as FITS files
``segmap``        which pixels belong to which source
``sources``       the catalogue: where each source is, and of which class
``picture``       the classes as colours
``labels``        training pixels from a field of one's own
``completeness``  what was found of what was there, and what was found where nothing is
"""
