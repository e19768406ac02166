-- Parts that are in a version.
select part, digest, rows from skymill.catalogue_part
where catalogue = %(catalogue)s and version = %(version)s
order by part;
