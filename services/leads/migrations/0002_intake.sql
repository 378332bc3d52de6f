-- One customer, one record (53, 124). Owners carry no foreign key: people are never deleted, and the check would lock a
-- person's row in every transaction that gives them a lead.
CREATE TABLE customers (
    id         uuid PRIMARY KEY,
    name       text        NOT NULL,
    company    text        NOT NULL DEFAULT '',
    phone      text        NOT NULL DEFAULT '',
    email      text        NOT NULL DEFAULT '',
    owner_id   text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX customers_owner ON customers (owner_id);

-- By what a customer is recognised: phone:+86..., email:..., name:<company>:<name>, ref:<system>:<kind>:<id>.
-- Claiming a key is inserting it: two transactions with the same key wait for each other, so one customer stays one.
-- No foreign key: keys are claimed before the customer's row is known to be needed, in the same transaction.
CREATE TABLE customer_keys (
    key         text PRIMARY KEY,
    customer_id uuid NOT NULL
);

CREATE TABLE leads (
    id             uuid PRIMARY KEY,
    customer_id    uuid        NOT NULL REFERENCES customers,
    name           text        NOT NULL,
    company        text        NOT NULL DEFAULT '',
    phone          text        NOT NULL DEFAULT '',
    email          text        NOT NULL DEFAULT '',
    website        text        NOT NULL DEFAULT '',
    city_code      text        NOT NULL DEFAULT '',
    region         text        NOT NULL DEFAULT '',
    industry       text        NOT NULL DEFAULT '',
    source         text        NOT NULL,
    budget         numeric,
    urgency        text        NOT NULL DEFAULT '',
    need           text        NOT NULL DEFAULT '',
    utm            jsonb       NOT NULL DEFAULT '{}',
    anonymous_id   text        NOT NULL DEFAULT '',
    stage          text        NOT NULL CHECK (stage IN ('new', 'contacted', 'qualified', 'converted', 'lost', 'closed')),
    source_status  text        NOT NULL DEFAULT '',
    external_id    text UNIQUE,
    import_id      text        NOT NULL DEFAULT '',
    duplicate_of   uuid,
    -- Who had it in the source system; rules may keep it with them.
    imported_owner_id text NOT NULL DEFAULT '',
    owner_id       text,
    priority       text        NOT NULL DEFAULT '',
    -- It has nobody, or only the duty desk: routed anew when the snapshot's version has moved past routed_version.
    waiting        boolean     NOT NULL DEFAULT false,
    routed_version bigint      NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    captured_at    timestamptz NOT NULL,
    assigned_at    timestamptz,
    claim_by       timestamptz,
    claimed_at     timestamptz,
    -- Of the lead's last event; consumers judge order by it.
    sequence       bigint      NOT NULL
);
CREATE INDEX leads_customer ON leads (customer_id, id);
CREATE INDEX leads_owner ON leads (owner_id, id);
CREATE INDEX leads_stage ON leads (stage, id);
CREATE INDEX leads_waiting ON leads (routed_version) WHERE waiting AND stage IN ('new', 'contacted', 'qualified');
