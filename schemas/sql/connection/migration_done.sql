-- Note an applied migration.
insert into skymill.migration (version, name) values (%(version)s, %(name)s);
