select count(*) from {table};
