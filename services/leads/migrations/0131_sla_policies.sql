-- First-touch limits and calendars are data, versioned, never changed in place, as the rules are. The newest version is in force.
-- first_touch_policies is what the previous release reads; nothing writes it any more.
CREATE TABLE sla_policies (
    version    integer     PRIMARY KEY,
    document   jsonb       NOT NULL,
    author     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO sla_policies (version, author, document)
SELECT 1, 'breakwater', jsonb_build_object('calendars', '[]'::jsonb, 'policies', jsonb_agg(jsonb_build_object(
    'team', team_id, 'source', source,
    'claim_min', greatest(stage1_s / 60, 1), 'claim_remind_min', stage1_s / 180,
    'work_min', greatest(stage2_s / 60, 2), 'work_remind_min', stage2_s / 240
) ORDER BY team_id, source)) FROM first_touch_policies;

ALTER TABLE first_touch_timers
    -- Before due_at: when the owner is reminded; NULL when nobody is, or it was done.
    ADD COLUMN remind_at timestamptz,
    -- Business time that ran before started_at: a clock that was paused goes on from here.
    ADD COLUMN used_ms   bigint NOT NULL DEFAULT 0,
    -- Since when the clock stands.
    ADD COLUMN paused_at timestamptz;
DROP INDEX first_touch_timers_due;
CREATE INDEX first_touch_timers_next ON first_touch_timers (coalesce(remind_at, due_at)) WHERE paused_at IS NULL;

-- Who stopped a lead's clock, why, and who let it run again; one that was given to somebody else began anew.
CREATE TABLE sla_pauses (
    lead_id    uuid        NOT NULL REFERENCES leads ON DELETE CASCADE,
    paused_at  timestamptz NOT NULL,
    paused_by  text        NOT NULL,
    reason     text        NOT NULL,
    resumed_at timestamptz,
    resumed_by text        NOT NULL DEFAULT '',
    PRIMARY KEY (lead_id, paused_at)
);
