-- A lead's history says when a first touch was late, and whose it was (15).
ALTER TABLE lead_steps DROP CONSTRAINT lead_steps_kind_check,
    ADD CHECK (kind IN ('claimed', 'stage_changed', 'overdue'));
