-- What each consumer has handled, written in the transaction of the effect (chassis.inbox). Kept longer than anything can
-- be delivered again: this table, not JetStream's window of duplicates, makes effects happen once.
CREATE TABLE inbox (
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
-- Rows arrive in order of time: a block range index finds the old ones and costs nothing to keep.
CREATE INDEX inbox_received_at ON inbox USING brin (received_at) WITH (pages_per_range = 32);
