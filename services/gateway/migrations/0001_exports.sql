-- Export requests (36-39): the gateway owns the request, files the full file, the local engine the lesser one.
CREATE TABLE exports (
    id                   uuid        PRIMARY KEY,
    -- The name under which files knows the work; a follow-up waits for the job of the export it supersedes.
    job_id               uuid        NOT NULL,
    requester_sub        text        NOT NULL,
    requester_role       text        NOT NULL,
    requester_scope      text        NOT NULL,
    dataset              text        NOT NULL,
    format               text        NOT NULL,
    fields               text[]      NOT NULL,
    filter               jsonb       NOT NULL,
    state                text        NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed')),
    engine               text        CHECK (engine IN ('files', 'local')),
    rows_done            bigint      NOT NULL DEFAULT 0,
    rows_total           bigint      NOT NULL DEFAULT 0,
    rows                 bigint,
    size_bytes           bigint,
    sha256               text,
    degraded_dependency  text,
    degraded_reason      text,
    degraded_missing     text[],
    supersedes           uuid        REFERENCES exports (id),
    superseded_by        uuid        REFERENCES exports (id),
    follow_up            uuid,
    failure_code         text,
    failure              text,
    created_at           timestamptz NOT NULL,
    progressed_at        timestamptz NOT NULL,
    finished_at          timestamptz,
    -- When it is to be looked at next: the lease of whoever holds it now, null when it is finished.
    due_at               timestamptz,
    -- How often it was taken up; only the latest taker may write.
    turn                 integer     NOT NULL DEFAULT 0,
    -- Events of this export so far: the aggregate's sequence.
    sequence             integer     NOT NULL DEFAULT 0,
    CHECK ((state IN ('queued', 'running')) = (due_at IS NOT NULL)),
    CHECK ((state = 'completed') = (sha256 IS NOT NULL)),
    CHECK ((engine = 'local') = (degraded_dependency IS NOT NULL))
);
CREATE INDEX exports_due ON exports (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX exports_job ON exports (job_id);
CREATE INDEX exports_supersedes ON exports (supersedes) WHERE supersedes IS NOT NULL;
