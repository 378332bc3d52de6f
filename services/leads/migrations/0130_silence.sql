-- Open leads that nobody has followed up since they were given to somebody (117). Kept by triggers: no way in which a lead comes,
-- changes hands or ends can forget its alarm, whatever is switched off, and whichever release runs.
CREATE TABLE silences (
    -- Without a foreign key: leads are never deleted, and the check would cost more than the row.
    lead_id      uuid        PRIMARY KEY,
    -- When it was given to whom it was given first since the last follow-up: a lead passed on every day is silent all the same.
    since        timestamptz NOT NULL,
    -- The alarm goes out when this is a day ago (BREAKWATER_SILENCE_AFTER_S), and moves it on.
    counted_from timestamptz NOT NULL,
    times        integer     NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX silences_counted_from ON silences (counted_from);

-- Once a statement, however many leads it brings.
CREATE FUNCTION silences_begin() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO silences (lead_id, since, counted_from)
    SELECT id, coalesce(assigned_at, captured_at), coalesce(assigned_at, captured_at) FROM given
    WHERE stage IN ('new', 'contacted', 'qualified');
    RETURN NULL;
END
$$;
CREATE TRIGGER silences_begin AFTER INSERT ON leads REFERENCING NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION silences_begin();

CREATE FUNCTION silence_goes_on() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.stage NOT IN ('new', 'contacted', 'qualified') THEN
        DELETE FROM silences WHERE lead_id = NEW.id;
    ELSE
        INSERT INTO silences (lead_id, since, counted_from)
        VALUES (NEW.id, coalesce(NEW.assigned_at, NEW.captured_at), coalesce(NEW.assigned_at, NEW.captured_at))
        ON CONFLICT (lead_id) DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER silence_goes_on AFTER UPDATE OF assigned_at, stage ON leads FOR EACH ROW
    WHEN (OLD.assigned_at IS DISTINCT FROM NEW.assigned_at
          OR (OLD.stage IS DISTINCT FROM NEW.stage AND NEW.stage NOT IN ('new', 'contacted', 'qualified')))
    EXECUTE FUNCTION silence_goes_on();

CREATE FUNCTION silence_ends() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM silences WHERE lead_id = NEW.lead_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER silence_ends AFTER INSERT ON follow_ups FOR EACH ROW EXECUTE FUNCTION silence_ends();

INSERT INTO silences (lead_id, since, counted_from)
SELECT id, coalesce(assigned_at, captured_at), coalesce(assigned_at, captured_at) FROM leads
WHERE stage IN ('new', 'contacted', 'qualified') AND NOT EXISTS (
    SELECT FROM follow_ups WHERE lead_id = leads.id AND follow_ups.created_at >= coalesce(leads.assigned_at, leads.captured_at)
);
