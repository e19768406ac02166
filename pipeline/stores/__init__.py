"""Durable products: the Zarr cube, Parquet parts, Postgres, and the staging area they pass through."""
