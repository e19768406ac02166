-- A version becomes the current one.
update skymill.catalogue_version
set state = 'published', rows = coalesce(rows, %(rows)s), published = coalesce(published, now())
where catalogue = %(catalogue)s and version = %(version)s;
