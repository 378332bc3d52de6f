-- What other systems tell of customers. `refs` are ids such as zoho:contact:2585, in the order they are to be believed;
-- customer_keys says whose they are. A row whose refs nobody knows yet waits with customer_id NULL until somebody does.
CREATE TABLE activities (
    id          uuid        PRIMARY KEY,
    customer_id uuid REFERENCES customers,
    external_id text UNIQUE,
    refs        text[]      NOT NULL,
    kind        text        NOT NULL,
    subject     text        NOT NULL,
    direction   text        NOT NULL,
    purpose     text        NOT NULL,
    owner_id    text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    duration_s  bigint      NOT NULL,
    import_id   text        NOT NULL,
    -- Of the record's last change; consumers judge order by it.
    sequence    bigint      NOT NULL DEFAULT 1
);
CREATE INDEX activities_customer ON activities (customer_id, occurred_at);
CREATE INDEX activities_unlinked ON activities (id) WHERE customer_id IS NULL;

CREATE TABLE opportunities (
    id               uuid        PRIMARY KEY,
    customer_id      uuid REFERENCES customers,
    external_id      text UNIQUE,
    refs             text[]      NOT NULL,
    name             text        NOT NULL,
    stage            text        NOT NULL,
    amount           numeric,
    expected_revenue numeric,
    probability      integer     CHECK (probability BETWEEN 0 AND 100),
    kind             text        NOT NULL,
    owner_id         text        NOT NULL,
    occurred_at      timestamptz NOT NULL,
    closing_at       timestamptz,
    import_id        text        NOT NULL,
    sequence         bigint      NOT NULL DEFAULT 1
);
CREATE INDEX opportunities_customer ON opportunities (customer_id, occurred_at);
CREATE INDEX opportunities_unlinked ON opportunities (id) WHERE customer_id IS NULL;

CREATE TABLE invoices (
    id          uuid        PRIMARY KEY,
    customer_id uuid REFERENCES customers,
    external_id text UNIQUE,
    refs        text[]      NOT NULL,
    number      text        NOT NULL,
    subject     text        NOT NULL,
    status      text        NOT NULL,
    -- NULL: the source has none yet.
    amount      numeric,
    owner_id    text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    import_id   text        NOT NULL,
    sequence    bigint      NOT NULL DEFAULT 1
);
CREATE INDEX invoices_customer ON invoices (customer_id, occurred_at);
CREATE INDEX invoices_unlinked ON invoices (id) WHERE customer_id IS NULL;
