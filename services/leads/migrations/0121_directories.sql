-- Who of those with limits, hours or leave could be given a lead when somebody last looked: whoever finds more has waiting
-- leads routed anew. One row for all replicas.
CREATE TABLE availability (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    able     text[]  NOT NULL DEFAULT '{}'
);
INSERT INTO availability DEFAULT VALUES;

-- Who was in which full export of a directory (WeCom, DingTalk) last: who is missing from a later one is found, not deleted.
CREATE TABLE directory_members (
    directory text NOT NULL,
    person_id text NOT NULL REFERENCES people,
    import_id uuid NOT NULL REFERENCES imports,
    PRIMARY KEY (directory, person_id)
);
