-- The five columns of a follow-up (9), the objection as a choice (10), pain tags (12).
CREATE TABLE follow_ups (
    id              uuid        PRIMARY KEY,
    lead_id         uuid        NOT NULL REFERENCES leads,
    customer_id     uuid        NOT NULL REFERENCES customers,
    author_id       text        NOT NULL,
    goal            text        NOT NULL,
    customer_words  text        NOT NULL,
    our_response    text        NOT NULL DEFAULT '',
    next_action     text        NOT NULL,
    next_action_due timestamptz NOT NULL,
    blocker         text        NOT NULL DEFAULT '',
    objection       text        NOT NULL,
    pain_tags       text[]      NOT NULL DEFAULT '{}' CHECK (cardinality(pain_tags) <= 3),
    created_at      timestamptz NOT NULL
);
CREATE INDEX follow_ups_lead ON follow_ups (lead_id, id);
