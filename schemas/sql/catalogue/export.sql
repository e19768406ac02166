-- All rows of a version, in the columns of its table.
select * from {table};
