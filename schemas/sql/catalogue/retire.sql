-- The current version steps back.
update skymill.catalogue_version set state = 'retired' where catalogue = %(catalogue)s and state = 'published';
