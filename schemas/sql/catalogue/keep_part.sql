insert into skymill.catalogue_part (catalogue, version, part, digest, rows)
values (%(catalogue)s, %(version)s, %(part)s, %(digest)s, %(rows)s);
