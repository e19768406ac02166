-- Versions of one catalogue, or of all.
select v.catalogue, v.version, v.state, v.digest, v.run, v.rows, v.published, v.pdf, v.provenance
from skymill.catalogue_version v
where (%(catalogue)s::text is null or v.catalogue = %(catalogue)s)
order by v.catalogue, v.version;
