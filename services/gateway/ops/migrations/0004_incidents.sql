-- Incidents as an ops process judged them last. `content` is what a restart has to know again; the record of who did what is the
-- timeline.
CREATE TABLE incidents (
    id          text PRIMARY KEY,
    key         text NOT NULL,
    opened_at   timestamptz NOT NULL,
    resolved_at timestamptz,
    content     jsonb NOT NULL
);
CREATE INDEX incidents_by_key ON incidents (key) WHERE resolved_at IS NULL;
CREATE INDEX incidents_by_end ON incidents (resolved_at);
-- What people did about them; rows are added and never altered.
CREATE TABLE incident_actions (
    id          uuid PRIMARY KEY,
    incident_id text NOT NULL,
    at          timestamptz NOT NULL,
    step        text NOT NULL,
    actor       text NOT NULL,
    recipient   text NOT NULL,
    note        text NOT NULL
);
CREATE INDEX incident_actions_by_incident ON incident_actions (incident_id);
CREATE FUNCTION incident_actions_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was done about an incident is append-only';
END $$;
CREATE TRIGGER incident_actions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_actions
    FOR EACH STATEMENT EXECUTE FUNCTION incident_actions_are_append_only();
-- The run-time role, named as its schema, adds and reads.
DO $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON incident_actions FROM %I', current_schema());
END $$;
