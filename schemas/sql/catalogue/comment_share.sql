-- Meaning of a class's share.
comment on column {relation}.{share} is {meaning};
