-- Digest of a loaded part.
select digest from skymill.catalogue_part
where catalogue = %(catalogue)s and version = %(version)s and part = %(part)s;
