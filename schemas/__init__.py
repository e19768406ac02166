"""What the data means: run file, columns, arrays, records, flags, errors and named SQL."""
