-- What a finished version is looked up by.
alter table {table} add primary key (sample, id);
create index on {table} (healpix);
analyze {table};
