delete from skymill.catalogue_version where catalogue = %(catalogue)s and version = %(version)s;
