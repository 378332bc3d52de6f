-- What a person's own mail address is, from PersonChanged: the channel everybody has without being asked.
ALTER TABLE recipients ADD COLUMN email text NOT NULL DEFAULT '';

-- What leaves together, such as an import's leads; its entries of one owner show it.
ALTER TABLE notifications ADD COLUMN batch text NOT NULL DEFAULT '';

-- Which address of which channel is whose (119). `robot` is the group robot that speaks there; empty for mail.
CREATE TABLE bindings (
    person_id text NOT NULL,
    channel   text NOT NULL,
    robot     text NOT NULL,
    address   text NOT NULL,
    bound_at  timestamptz NOT NULL,
    PRIMARY KEY (person_id, channel)
);

-- A person's language, order of channels, switches and quiet hours; `sequence` counts the changes of the bindings.
CREATE TABLE preferences (
    person_id     text PRIMARY KEY,
    language      text NOT NULL DEFAULT 'zh',
    channel_order text[] NOT NULL DEFAULT '{}',
    muted         text[] NOT NULL DEFAULT '{}',
    quiet_from    time,
    quiet_to      time,
    sequence      bigint NOT NULL DEFAULT 0
);

-- A notification that must leave us, and how far down the person's chain of channels it is.
CREATE TABLE outgoing (
    notification_id uuid PRIMARY KEY REFERENCES notifications (id) ON DELETE CASCADE,
    person_id       text NOT NULL,
    urgency         smallint NOT NULL,
    batch           text NOT NULL,
    state           text NOT NULL,
    due_at          timestamptz NOT NULL,
    round           smallint NOT NULL DEFAULT 0,
    failed          text[] NOT NULL DEFAULT '{}',
    refused         text[] NOT NULL DEFAULT '{}',
    doubtful        boolean NOT NULL DEFAULT false,
    message_id      uuid
);
CREATE INDEX outgoing_due ON outgoing (due_at) WHERE state = 'waiting';
CREATE INDEX outgoing_person ON outgoing (person_id) WHERE state = 'waiting';
CREATE INDEX outgoing_batch ON outgoing (batch) WHERE state = 'waiting' AND batch <> '';
CREATE INDEX outgoing_message ON outgoing (message_id) WHERE state = 'sending';

-- One try on one channel, for one notification or a digest of many: the lease while it is in flight, and what a robot's
-- limit is counted by afterwards.
CREATE TABLE messages (
    id          uuid PRIMARY KEY,
    person_id   text NOT NULL,
    channel     text NOT NULL,
    robot       text NOT NULL,
    state       text NOT NULL,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    ended_at    timestamptz,
    detail      text NOT NULL DEFAULT '',
    marked      boolean NOT NULL
);
CREATE INDEX message_of_robot ON messages (robot, ended_at);
CREATE INDEX message_in_flight ON messages (lease_until) WHERE state = 'sending';

ALTER TABLE attempts ADD COLUMN message_id uuid;
CREATE INDEX attempt_of_message ON attempts (message_id) WHERE message_id IS NOT NULL;

-- A robot that pushed back or refused its key is not spoken to until then. Its row is the lock of its limit.
CREATE TABLE robots (
    robot        text PRIMARY KEY,
    closed_until timestamptz,
    problem      text NOT NULL DEFAULT ''
);

-- What is held to leave together; due_at is null when nothing waits.
CREATE TABLE batches (
    batch      text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended      boolean NOT NULL,
    due_at     timestamptz
);
CREATE INDEX batch_due ON batches (due_at) WHERE due_at IS NOT NULL;

-- The words of each kind, as somebody changed them; what is not here has the words that came with the service.
CREATE TABLE templates (
    name       text NOT NULL,
    language   text NOT NULL,
    version    integer NOT NULL,
    title      text NOT NULL,
    body       text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (name, language, version)
);

-- Something a person has to do; opened once for each cause.
CREATE TABLE work_orders (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL,
    subject     text NOT NULL,
    title       text NOT NULL,
    assignee_id text NOT NULL,
    cause       text NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    closed_by   text NOT NULL DEFAULT '',
    resolution  text NOT NULL DEFAULT '',
    CONSTRAINT work_order_once UNIQUE (cause)
);
CREATE INDEX work_order_open ON work_orders (assignee_id, id DESC) WHERE closed_at IS NULL;

-- Everything that was said of one lead. Words are searched without an index: one of trigrams would be paid for by every insert.
CREATE INDEX notification_subject ON notifications (subject);
