-- A customer as the events of leads tell of it.
CREATE TABLE customers (
    customer_id text PRIMARY KEY,
    owner_id    text NOT NULL,
    known_at    timestamptz NOT NULL
);
CREATE INDEX customer_owner ON customers (owner_id);

CREATE TABLE people (
    person_id text PRIMARY KEY,
    team_id   text NOT NULL,
    sequence  bigint NOT NULL
);

-- Everything observed; a signal's id is the event's or the request's, so that nothing counts twice.
CREATE TABLE signals (
    id          text PRIMARY KEY,
    customer_id text NOT NULL,
    kind        text NOT NULL,
    value       numeric NOT NULL,
    occurred_at timestamptz NOT NULL
);
CREATE INDEX signal_of_customer ON signals (customer_id, kind, occurred_at);

-- The present score of each customer, with its layers and reasons as JSON.
CREATE TABLE scores (
    customer_id   text PRIMARY KEY,
    score         double precision NOT NULL,
    grade         text NOT NULL,
    needs_care    boolean NOT NULL,
    layers        jsonb NOT NULL,
    signals       bigint NOT NULL,
    model_version text NOT NULL,
    scored_at     timestamptz NOT NULL,
    sequence      bigint NOT NULL
);
CREATE INDEX score_worst ON scores (score, customer_id);

-- Customers to be scored: by a new signal or by the nightly run. A row is gone in the transaction that scored it.
CREATE TABLE rescore_due (
    customer_id text PRIMARY KEY,
    since       timestamptz NOT NULL
);

-- When the nightly run (18) is due; one replica moves it on and marks every customer in the same transaction.
CREATE TABLE nightly (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    due_at   timestamptz NOT NULL
);
