-- Every change of a lead's or customer's field: who, when, from, to, why (88). Kept by triggers on what changes, so that no way
-- of changing something can forget it; a lead that comes in costs nothing. Who and why are told by the transaction
-- (leads.changed_by, leads.change_reason); decisions of routing stand in assignments with their reason.
CREATE TABLE changes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject    text        NOT NULL CHECK (subject IN ('lead', 'customer')),
    subject_id uuid        NOT NULL,
    field      text        NOT NULL,
    before     text,
    after      text,
    changed_by text        NOT NULL,
    reason     text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX changes_subject ON changes (subject_id, id);

-- What is known of a lead beside its first fields: details that its growth stages unlock, and files by reference (54, 75, 79).
ALTER TABLE leads
    ADD COLUMN details     jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN attachments jsonb NOT NULL DEFAULT '[]';

CREATE FUNCTION keep_changes() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    old_row jsonb := to_jsonb(OLD);
    new_row jsonb := to_jsonb(NEW);
    told_by text := coalesce(nullif(current_setting('leads.changed_by', true), ''), 'system');
    why     text := coalesce(current_setting('leads.change_reason', true), '');
BEGIN
    old_row := (old_row - 'details') || coalesce(old_row->'details', '{}');
    new_row := (new_row - 'details') || coalesce(new_row->'details', '{}');
    INSERT INTO changes (subject, subject_id, field, before, after, changed_by, reason)
    SELECT TG_ARGV[0], NEW.id, field, nullif(old_row->>field, ''), nullif(new_row->>field, ''), told_by, why
    FROM (SELECT jsonb_object_keys(old_row) UNION SELECT jsonb_object_keys(new_row)) AS fields(field)
    WHERE nullif(old_row->>field, '') IS DISTINCT FROM nullif(new_row->>field, '')
          -- Bookkeeping, told elsewhere.
          AND field NOT IN ('updated_at', 'sequence', 'routed_version', 'waiting', 'claim_by', 'assigned_at', 'import_id',
                            'duplicate_of')
    ORDER BY field;
    RETURN NULL;
END
$$;
CREATE TRIGGER customers_changes AFTER UPDATE ON customers FOR EACH ROW
    WHEN ((OLD.name, OLD.company, OLD.phone, OLD.email, OLD.owner_id, OLD.merged_into)
          IS DISTINCT FROM (NEW.name, NEW.company, NEW.phone, NEW.email, NEW.owner_id, NEW.merged_into))
    EXECUTE FUNCTION keep_changes('customer');
CREATE TRIGGER leads_changes AFTER UPDATE ON leads FOR EACH ROW
    WHEN ((OLD.customer_id, OLD.name, OLD.company, OLD.phone, OLD.email, OLD.website, OLD.city_code, OLD.region, OLD.industry,
           OLD.source, OLD.budget, OLD.urgency, OLD.need, OLD.utm, OLD.stage, OLD.source_status, OLD.owner_id, OLD.claimed_at,
           OLD.priority, OLD.details, OLD.attachments)
          IS DISTINCT FROM
          (NEW.customer_id, NEW.name, NEW.company, NEW.phone, NEW.email, NEW.website, NEW.city_code, NEW.region, NEW.industry,
           NEW.source, NEW.budget, NEW.urgency, NEW.need, NEW.utm, NEW.stage, NEW.source_status, NEW.owner_id, NEW.claimed_at,
           NEW.priority, NEW.details, NEW.attachments))
    EXECUTE FUNCTION keep_changes('lead');
