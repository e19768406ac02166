-- The next number of a catalogue; the row lock makes others wait for this transaction.
insert into skymill.catalogue_counter (catalogue, last_version) values (%(catalogue)s, 1)
on conflict (catalogue) do update set last_version = catalogue_counter.last_version + 1
returning last_version;
