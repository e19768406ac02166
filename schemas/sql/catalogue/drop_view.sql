-- Make room for a view with other columns.
drop function if exists {cone}(double precision, double precision, double precision);
drop view if exists {view};
