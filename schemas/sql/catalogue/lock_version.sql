-- Lock all versions of a catalogue against other drivers.
select version, state from skymill.catalogue_version where catalogue = %(catalogue)s order by version for update;
