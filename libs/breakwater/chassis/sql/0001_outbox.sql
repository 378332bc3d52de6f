-- Events written in the transaction of their cause and published afterwards (chassis.outbox).
-- A ring of 16 days: published rows stay, so that a wiped JetStream is emitted again, and a whole day is emptied at once.
CREATE TABLE outbox (
    day          smallint    NOT NULL DEFAULT (floor(extract(epoch FROM now()) / 86400)::bigint % 16),
    position     bigint      GENERATED ALWAYS AS IDENTITY,
    id           uuid        NOT NULL,
    type         text        NOT NULL,
    subject_id   text        NOT NULL,
    sequence     bigint      NOT NULL,
    payload      bytea       NOT NULL,
    traceparent  text,
    urgent       boolean     NOT NULL DEFAULT true,
    occurred_at  timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
) PARTITION BY LIST (day);

DO $$
BEGIN
    FOR slot IN 0..15 LOOP
        EXECUTE format('CREATE TABLE outbox_%s PARTITION OF outbox FOR VALUES IN (%s)', lpad(slot::text, 2, '0'), slot);
    END LOOP;
END
$$;

-- Small whatever the history: only what still has to go, what somebody waits for first.
CREATE INDEX outbox_pending ON outbox (urgent DESC, position) WHERE published_at IS NULL;

-- Empties the days of the ring that are older than `keep_days` and wholly published; returns how many it emptied.
-- Runs as the owner: the run-time role may not truncate, and this function refuses what is still to be sent.
CREATE FUNCTION outbox_empty_old_days(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    slot_table regclass;
    newest     timestamptz;
    pending    boolean;
    emptied    integer := 0;
BEGIN
    IF keep_days NOT BETWEEN 1 AND 14 THEN
        RAISE EXCEPTION 'keep_days is 1 to 14, the ring has 16 days' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR slot_table IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'outbox'::regclass LOOP
        EXECUTE format('SELECT max(created_at), bool_or(published_at IS NULL) FROM %s', slot_table) INTO newest, pending;
        IF newest < now() - make_interval(days => keep_days) AND NOT pending THEN
            EXECUTE format('TRUNCATE %s', slot_table);
            emptied := emptied + 1;
        END IF;
    END LOOP;
    RETURN emptied;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION outbox_empty_old_days(integer) SET search_path = %I', current_schema());
END
$$;
