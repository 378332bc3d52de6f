-- Whoever found no room at a robot waits for it by name, and is asked again when it has some; due_at is since when.
ALTER TABLE outgoing ADD COLUMN waits_for text NOT NULL DEFAULT '';
CREATE INDEX outgoing_waiting_for ON outgoing (waits_for) WHERE state = 'waiting' AND waits_for <> '';

-- When it was closed last: whoever waited for it then may have another way.
ALTER TABLE robots ADD COLUMN closed_at timestamptz;
