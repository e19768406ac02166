-- A class's share, as a column of the table of sources.
{share} real not null
