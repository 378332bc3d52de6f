-- First-touch limits by team and lead source; '' is any, the most specific row wins (domain.md, Open points).
CREATE TABLE first_touch_policies (
    team_id  text    NOT NULL DEFAULT '',
    source   text    NOT NULL DEFAULT '',
    -- Business time from assignment to the reminder, and to the transfer to the supervisor (5).
    stage1_s integer NOT NULL CHECK (stage1_s > 0),
    stage2_s integer NOT NULL CHECK (stage2_s > stage1_s),
    PRIMARY KEY (team_id, source)
);
INSERT INTO first_touch_policies (stage1_s, stage2_s) VALUES (900, 7200);

-- What is due, when. Taken with FOR UPDATE SKIP LOCKED: restarts and replicas neither lose nor double one.
CREATE TABLE first_touch_timers (
    lead_id    uuid        PRIMARY KEY REFERENCES leads,
    stage      smallint    NOT NULL CHECK (stage IN (1, 2)),
    due_at     timestamptz NOT NULL,
    -- When the owner got the lead: both stages count from here.
    started_at timestamptz NOT NULL
);
CREATE INDEX first_touch_timers_due ON first_touch_timers (due_at);
