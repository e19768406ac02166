-- The version of a digest, if there is one.
select version from skymill.catalogue_version where catalogue = %(catalogue)s and digest = %(digest)s;
