-- Customers that look alike (53, 70, 124). Looked for after they are committed: nothing here is in a capture's way.

-- Whom to compare, in the order they came. Plain rows, one after the other: nobody waits for whoever works on an older one.
CREATE TABLE duplicate_checks (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id uuid   NOT NULL
);

-- What is compared by index. Written by who compares, never by a capture: an index of trigrams is emptied now and then, and
-- whoever writes the row that is one too many waits for it.
CREATE TABLE likenesses (
    customer_id uuid PRIMARY KEY,
    -- Surname and company's core (intake.duplicates.domain.Likeness.text); empty without a company.
    text        text NOT NULL,
    name_key    text NOT NULL,
    phone       text NOT NULL,
    email       text NOT NULL
);
-- Without a list of pending entries: every look-up would read through it, and who writes has time.
CREATE INDEX likenesses_text ON likenesses USING gin (text gin_trgm_ops) WITH (fastupdate = off) WHERE text <> '';
CREATE INDEX likenesses_name ON likenesses (name_key);

-- A pair that was found alike, and what became of it; a decided pair is never asked about again.
CREATE TABLE duplicates (
    low_id     uuid        NOT NULL,
    high_id    uuid        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('suspected', 'same', 'merged', 'dismissed')),
    score      integer     NOT NULL,
    -- [[field, points, text], ...]
    reasons    jsonb       NOT NULL,
    found_at   timestamptz NOT NULL,
    decided_by text        NOT NULL DEFAULT '',
    decided_at timestamptz,
    PRIMARY KEY (low_id, high_id),
    CHECK (low_id < high_id)
);
CREATE INDEX duplicates_high ON duplicates (high_id);
CREATE INDEX duplicates_same ON duplicates (found_at) WHERE state = 'same';

CREATE FUNCTION ask_for_duplicates() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO duplicate_checks (customer_id) SELECT id FROM added;
    RETURN NULL;
END
$$;
CREATE TRIGGER customers_added AFTER INSERT ON customers REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ask_for_duplicates();

CREATE FUNCTION ask_for_duplicates_again() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO duplicate_checks (customer_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER customers_changed AFTER UPDATE ON customers FOR EACH ROW
    WHEN ((OLD.name, OLD.company, OLD.phone, OLD.email) IS DISTINCT FROM (NEW.name, NEW.company, NEW.phone, NEW.email))
    EXECUTE FUNCTION ask_for_duplicates_again();

INSERT INTO duplicate_checks (customer_id) SELECT id FROM customers ORDER BY id;

-- Who may be the same as what is asked for, the likeliest first. The threshold of `%` belongs to the function. So do its plans:
-- a table that has just been filled looks small to the planner, and reading all of it compares trigrams of every row.
CREATE FUNCTION alike(
    asking uuid, wanted_text text, wanted_name text, wanted_phone text, wanted_email text, at_most integer
) RETURNS TABLE (customer_id uuid) LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT SET pg_trgm.similarity_threshold = '0.4' SET enable_seqscan = off AS $$
BEGIN
    IF wanted_text <> '' THEN
        RETURN QUERY
        SELECT l.customer_id FROM likenesses l
        WHERE l.text <> '' AND l.text % wanted_text AND l.customer_id IS DISTINCT FROM asking
        ORDER BY (l.name_key = wanted_name) DESC, similarity(l.text, wanted_text) DESC, l.customer_id LIMIT at_most;
    END IF;
    RETURN QUERY
    SELECT l.customer_id FROM likenesses l
    WHERE l.name_key = wanted_name AND l.customer_id IS DISTINCT FROM asking
          AND (similarity(l.phone, wanted_phone) >= 0.4 OR similarity(l.email, wanted_email) >= 0.5)
    ORDER BY greatest(similarity(l.phone, wanted_phone), similarity(l.email, wanted_email)) DESC, l.customer_id
    LIMIT at_most;
END
$$;
