insert into skymill.catalogue_version (catalogue, version, run, digest, pdf, provenance)
values (%(catalogue)s, %(version)s, %(run)s, %(digest)s, %(pdf)s, %(provenance)s);
