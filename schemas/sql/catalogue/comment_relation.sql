-- Which version this is.
comment on table {table} is {meaning};
