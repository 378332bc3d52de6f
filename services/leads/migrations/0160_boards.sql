-- Boards look at the leads of some days, at those lost on some days, and at what one person was given on some days.
CREATE INDEX leads_captured ON leads (captured_at);
CREATE INDEX lead_steps_lost ON lead_steps (at) WHERE to_stage = 'lost';
CREATE INDEX assignments_owner ON assignments (owner_id, decided_at);
