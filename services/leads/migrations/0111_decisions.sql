-- What decisions stood on, so that each can be made again (8). The organisation is kept once for each content it had.
CREATE TABLE routing_grounds (
    hash    text        PRIMARY KEY,
    content bytea       NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now()
);

-- ground is NULL where no rule was asked: an overdue lead that went to the supervisor. digest is of the whole decision.
ALTER TABLE assignments
    ADD COLUMN ground   text,
    ADD COLUMN stood_on jsonb,
    ADD COLUMN score    numeric,
    ADD COLUMN digest   text;

-- Turns of the rotation somebody is owed from when they were away, in hundred-millionths; credit is in
-- hundred-millionths of a lead too, and what was kept of it in other units is nothing by that measure.
ALTER TABLE workloads ADD COLUMN owed integer NOT NULL DEFAULT 0;
UPDATE workloads SET credit = 0 WHERE credit <> 0;

-- Deals won in the last three months: by whom, in which city (55). Worked out anew now and then, from what was imported.
CREATE TABLE recent_deals (
    person_id text    NOT NULL,
    city_code text    NOT NULL,
    deals     integer NOT NULL CHECK (deals > 0),
    PRIMARY KEY (person_id, city_code)
);

-- The most promising of those that wait get somebody first (93).
CREATE INDEX leads_waiting_first ON leads (priority, id) WHERE waiting AND stage IN ('new', 'contacted', 'qualified');
CREATE INDEX opportunities_closed ON opportunities (coalesce(closing_at, occurred_at));
