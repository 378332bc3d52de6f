-- A job whose requester no longer wants it: final, without a file.
ALTER TABLE export_job DROP CONSTRAINT export_job_state_check;
ALTER TABLE export_job ADD CONSTRAINT export_job_state_check
    CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled'));
DROP INDEX export_job_to_remove;
CREATE INDEX export_job_to_remove ON export_job (due_at) WHERE state IN ('completed', 'failed', 'cancelled');
