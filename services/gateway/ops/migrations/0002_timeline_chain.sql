-- Each entry holds the hash of the one before: what is altered, taken out or put in between is found. Entries from before have
-- no number; the chain begins with the first that has one.
ALTER TABLE timeline ADD COLUMN seq bigint, ADD COLUMN sha256 bytea;
CREATE UNIQUE INDEX timeline_seq ON timeline (seq);
-- The run-time role, named as its schema, adds and reads; the trigger stands behind this for everybody else.
DO $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON timeline FROM %I', current_schema());
END $$;
