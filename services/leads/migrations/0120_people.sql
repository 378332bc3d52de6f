-- People in full: account, hours, limits by day and week, leave, bound channels (118, 119); teams in a hierarchy (4).
ALTER TABLE people
    ADD COLUMN has_account        boolean NOT NULL DEFAULT true,
    -- [[weekday 1 to 7, start, end in minutes of the day], ...]; none: any hour.
    ADD COLUMN duty               jsonb   NOT NULL DEFAULT '[]',
    ADD COLUMN works_holidays     boolean NOT NULL DEFAULT false,
    ADD COLUMN leads_per_day_max  integer CHECK (leads_per_day_max >= 0),
    ADD COLUMN leads_per_week_max integer CHECK (leads_per_week_max >= 0);

ALTER TABLE teams ADD COLUMN parent_id text NOT NULL DEFAULT '';

CREATE TABLE leaves (
    id         uuid        PRIMARY KEY,
    person_id  text        NOT NULL REFERENCES people,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    reason     text        NOT NULL DEFAULT '',
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (starts_at < ends_at)
);
CREATE INDEX leaves_person ON leaves (person_id, starts_at);
INSERT INTO leaves (id, person_id, starts_at, ends_at, created_by, created_at)
SELECT gen_random_uuid(), id, now(), absent_until, 'breakwater', now() FROM people WHERE absent_until > now();
ALTER TABLE people DROP COLUMN absent_until;

-- What notify told of a person's channels, who may not be known here yet. The sequence is the newest event's.
CREATE TABLE person_channels (
    person_id text    NOT NULL,
    channel   text    NOT NULL,
    bound     boolean NOT NULL,
    sequence  bigint  NOT NULL,
    PRIMARY KEY (person_id, channel)
);

-- One row. channels_required: one of them must be bound before somebody gets leads; none: in-app will do (119).
CREATE TABLE organisation_settings (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    channels_required text[]  NOT NULL DEFAULT '{}'
);
INSERT INTO organisation_settings DEFAULT VALUES;

-- Leads given by rules in the day `taken_on` and in its week, on the calendar of the person's team.
ALTER TABLE workloads
    ADD COLUMN taken_on      date    NOT NULL DEFAULT '0001-01-01',
    ADD COLUMN taken_in_day  integer NOT NULL DEFAULT 0,
    ADD COLUMN taken_in_week integer NOT NULL DEFAULT 0;
