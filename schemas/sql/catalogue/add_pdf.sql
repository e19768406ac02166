-- PDFs do not compress, and statistics of them say nothing.
alter table {table} add column pdf bytea not null;
alter table {table} alter column pdf set storage external, alter column pdf set statistics 0;
