-- Since when a lead is in its stage; NULL: since it was captured. By a trigger, for captures, follow-ups and imports all move leads.
ALTER TABLE leads ADD COLUMN stage_since timestamptz;

CREATE FUNCTION keep_stage_since() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.stage_since := now();
    RETURN NEW;
END $$;
CREATE TRIGGER leads_stage_since BEFORE UPDATE OF stage ON leads
    FOR EACH ROW WHEN (OLD.stage IS DISTINCT FROM NEW.stage) EXECUTE FUNCTION keep_stage_since();

-- Boards look at the leads of some days, at those lost on some days, and at what one person was given on some days.
CREATE INDEX leads_captured ON leads (captured_at);
CREATE INDEX leads_lost ON leads (stage_since) WHERE stage = 'lost';
CREATE INDEX assignments_owner ON assignments (owner_id, decided_at);
