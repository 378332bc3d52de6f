-- One export to make and its file (36-39). The id is the gateway's: asking twice finds the same row.
-- due_at is when somebody has to look next: queued, when it may be taken; running, when its lease ends; completed or failed,
-- when it is removed. Only the holder of the lease ends a running job.
CREATE TABLE export_job (
    id           uuid        PRIMARY KEY,
    actor_sub    text        NOT NULL,
    actor_role   text        NOT NULL,
    actor_scope  text        NOT NULL,
    dataset      text        NOT NULL,
    format       text        NOT NULL,
    fields       text[]      NOT NULL,
    filter       jsonb       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed')),
    due_at       timestamptz NOT NULL,
    holder       text,
    takes        integer     NOT NULL DEFAULT 0,
    failures     integer     NOT NULL DEFAULT 0,
    defects      integer     NOT NULL DEFAULT 0,
    rows_done    bigint      NOT NULL DEFAULT 0,
    rows_total   bigint      NOT NULL DEFAULT 0,
    object_key   text,
    size_bytes   bigint,
    sha256       text,
    failure_code text,
    failure      text,
    requested_at timestamptz NOT NULL,
    finished_at  timestamptz,
    CHECK ((state = 'running') = (holder IS NOT NULL)),
    CHECK ((state = 'completed') = (object_key IS NOT NULL AND size_bytes IS NOT NULL AND sha256 IS NOT NULL)),
    CHECK ((state = 'failed') = (failure_code IS NOT NULL))
);
CREATE INDEX export_job_to_make ON export_job (due_at) WHERE state IN ('queued', 'running');
CREATE INDEX export_job_to_remove ON export_job (due_at) WHERE state IN ('completed', 'failed');
