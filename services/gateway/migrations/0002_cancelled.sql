-- An export whose requester no longer wants it: final, without a file.
ALTER TABLE exports DROP CONSTRAINT exports_state_check;
ALTER TABLE exports ADD CONSTRAINT exports_state_check
    CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled'));
-- How many a requester has open is asked with each request.
CREATE INDEX exports_open ON exports (requester_sub) WHERE due_at IS NOT NULL;
