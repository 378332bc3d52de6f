-- The first answer to each Idempotency-Key, written in the transaction of its effect (chassis.idempotency).
CREATE TABLE idempotency (
    actor      text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hmac  bytea       NOT NULL,
    response   bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, route, key)
);
CREATE INDEX idempotency_created_at ON idempotency USING brin (created_at) WITH (pages_per_range = 32);
