-- A class's share, as a column of the view of sources.
nullif({share}, 'NaN') as {share}
