-- Imports: the file is here before the caller gets an answer, and gone when its last row is done (53, 70, 124).
CREATE TABLE imports (
    id               uuid        PRIMARY KEY,
    state            text        NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'completed', 'failed')),
    dataset          text        NOT NULL,
    -- The name of a shipped mapping; the document of one that came with the file.
    mapping          text        NOT NULL,
    mapping_document text        NOT NULL DEFAULT '',
    filename         text        NOT NULL,
    reassign         boolean     NOT NULL DEFAULT false,
    -- csv, or xlsx until it has been turned into CSV.
    format           text        NOT NULL CHECK (format IN ('csv', 'xlsx')),
    encoding         text        NOT NULL,
    delimiter        text        NOT NULL,
    started_by       text        NOT NULL,
    -- NULL until the file has been counted.
    rows             bigint,
    rows_done        bigint      NOT NULL DEFAULT 0,
    created          bigint      NOT NULL DEFAULT 0,
    merged           bigint      NOT NULL DEFAULT 0,
    rejected         bigint      NOT NULL DEFAULT 0,
    unlinked         bigint      NOT NULL DEFAULT 0,
    failure          text        NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    -- Who works on it: a new lease each time it is taken, so that a replica believed dead writes nothing any more.
    lease_id         uuid,
    lease_expires_at timestamptz,
    -- Leases since the last progress: what kills every process that takes it must end somewhere.
    leases_in_vain   integer     NOT NULL DEFAULT 0
);
CREATE INDEX imports_unfinished ON imports (created_at) WHERE state IN ('queued', 'running');

CREATE TABLE import_pieces (
    import_id uuid    NOT NULL REFERENCES imports,
    number    integer NOT NULL,
    content   bytea   NOT NULL,
    PRIMARY KEY (import_id, number)
);
-- Read and written once: compressing would cost more than it saves.
ALTER TABLE import_pieces ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE import_rejections (
    import_id uuid   NOT NULL REFERENCES imports,
    -- As people count: the header is row 1.
    row       bigint NOT NULL,
    field     text   NOT NULL,
    reason    text   NOT NULL,
    raw       text   NOT NULL,
    PRIMARY KEY (import_id, row)
);
