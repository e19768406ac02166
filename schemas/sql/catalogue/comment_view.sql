-- Which version the view shows.
comment on view {view} is {meaning};
