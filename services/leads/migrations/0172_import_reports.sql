-- What became of every row that was taken, a chunk a row: [[row, outcome, id], ...]; refused ones are in import_rejections (70).
CREATE TABLE import_reports (
    import_id uuid   NOT NULL REFERENCES imports,
    -- Of the chunk, as people count.
    last_row  bigint NOT NULL,
    rows      jsonb  NOT NULL,
    PRIMARY KEY (import_id, last_row)
);
