-- Of a degraded export made while leads was out as well: the time its rows are of.
ALTER TABLE exports ADD COLUMN degraded_as_of timestamptz;
