-- Which ops process tells an alarm by a way that keeps no keys itself, and when it was told: rows of a month, then they go.
CREATE TABLE alarm_claims (
    key        text PRIMARY KEY,
    claimed_by text NOT NULL,
    claimed_at timestamptz NOT NULL,
    told_at    timestamptz
);
CREATE INDEX alarm_claims_by_age ON alarm_claims (claimed_at);
