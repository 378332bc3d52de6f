-- What this service knows of a person, from PersonChanged: who sees whose inbox. Order is judged by the sequence.
CREATE TABLE recipients (
    person_id     text PRIMARY KEY,
    name          text NOT NULL,
    team_id       text NOT NULL,
    supervisor_id text NOT NULL,
    active        boolean NOT NULL,
    sequence      bigint NOT NULL
);
CREATE INDEX recipient_team ON recipients (team_id);

-- A notification is delivered in-app by being here; dedup_key makes that exactly once.
CREATE TABLE notifications (
    id           uuid PRIMARY KEY,
    recipient_id text NOT NULL,
    kind         text NOT NULL,
    title        text NOT NULL,
    body         text NOT NULL,
    subject      text NOT NULL,
    severity     text NOT NULL,
    dedup_key    text NOT NULL,
    created_at   timestamptz NOT NULL,
    read_at      timestamptz,
    CONSTRAINT notification_once UNIQUE (dedup_key)
);
CREATE INDEX notification_inbox ON notifications (recipient_id, id DESC);

-- Every try on every channel, with what the provider said.
CREATE TABLE attempts (
    notification_id uuid NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    channel         text NOT NULL,
    state           text NOT NULL,
    at              timestamptz NOT NULL,
    detail          text NOT NULL,
    PRIMARY KEY (notification_id, channel, at)
);
