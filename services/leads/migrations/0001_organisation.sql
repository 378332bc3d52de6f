-- People and teams leads are routed to (4, 118). Ids of people are those of the source system.
CREATE TABLE teams (
    id            text PRIMARY KEY,
    name          text NOT NULL,
    supervisor_id text NOT NULL DEFAULT '',
    time_zone     text NOT NULL DEFAULT 'Asia/Shanghai',
    work_start    time NOT NULL DEFAULT '09:00',
    work_end      time NOT NULL DEFAULT '18:00',
    lunch_start   time,
    lunch_end     time,
    CHECK (work_start < work_end),
    CHECK ((lunch_start IS NULL) = (lunch_end IS NULL)),
    CHECK (lunch_start IS NULL OR (work_start < lunch_start AND lunch_start < lunch_end AND lunch_end < work_end))
);

CREATE TABLE people (
    id             text PRIMARY KEY,
    name           text        NOT NULL,
    email          text        NOT NULL DEFAULT '',
    team_id        text        NOT NULL REFERENCES teams,
    supervisor_id  text        NOT NULL DEFAULT '',
    regions        text[]      NOT NULL DEFAULT '{}',
    city_codes     text[]      NOT NULL DEFAULT '{}',
    skills         text[]      NOT NULL DEFAULT '{}',
    active         boolean     NOT NULL DEFAULT true,
    may_follow_up  boolean     NOT NULL DEFAULT true,
    on_duty        boolean     NOT NULL DEFAULT true,
    absent_until   timestamptz,
    open_leads_max integer     CHECK (open_leads_max >= 0),
    weight         integer     NOT NULL DEFAULT 1 CHECK (weight >= 0),
    sequence       bigint      NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

-- Open leads and rotation credit of each person. Whoever gives somebody a lead locks all rows in the order of the ids first:
-- that is what makes replicas take turns in one rotation. Apart from people, so that routing does not rewrite wide rows.
CREATE TABLE workloads (
    person_id  text    PRIMARY KEY REFERENCES people,
    open_leads integer NOT NULL DEFAULT 0 CHECK (open_leads >= 0),
    credit     integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One row: what processes keep in memory of the organisation and the rules is right while this is unchanged. From a sequence,
-- so that no version is used again after a rollback.
CREATE SEQUENCE snapshot_versions;
CREATE TABLE snapshot_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL
);
INSERT INTO snapshot_version (version) VALUES (nextval('snapshot_versions'));

-- Until people are imported, the duty desk takes every lead (125).
INSERT INTO teams (id, name, supervisor_id) VALUES ('sales', '销售一部', 'sales-supervisor');
INSERT INTO people (id, name, team_id, weight)
VALUES ('duty-desk', '值班席', 'sales', 0), ('sales-supervisor', '销售主管', 'sales', 0);
INSERT INTO workloads (person_id) SELECT id FROM people;
