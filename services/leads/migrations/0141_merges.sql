-- Two customers made one, and taken apart again (53). The merged one's row stays: its id leads to the one that was kept.
ALTER TABLE customers ADD COLUMN merged_into uuid REFERENCES customers;
CREATE INDEX customers_merged ON customers (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX customer_keys_customer ON customer_keys (customer_id);

CREATE TABLE merges (
    id        uuid        PRIMARY KEY,
    kept_id   uuid        NOT NULL REFERENCES customers,
    merged_id uuid        NOT NULL REFERENCES customers,
    merged_by text        NOT NULL,
    reason    text        NOT NULL,
    merged_at timestamptz NOT NULL,
    -- All that was moved, as it was before: {fields: {name: [before, after]}, keys: [...], rows: {table: [id, ...]},
    -- leads: [{id, owner_id, row, timer}, ...]}.
    moved     jsonb       NOT NULL,
    undone_by text        NOT NULL DEFAULT '',
    undone_at timestamptz
);
CREATE INDEX merges_kept ON merges (kept_id, id);

-- A merge and its undoing change what is compared.
DROP TRIGGER customers_changed ON customers;
CREATE TRIGGER customers_changed AFTER UPDATE ON customers FOR EACH ROW
    WHEN ((OLD.name, OLD.company, OLD.phone, OLD.email, OLD.merged_into)
          IS DISTINCT FROM (NEW.name, NEW.company, NEW.phone, NEW.email, NEW.merged_into))
    EXECUTE FUNCTION ask_for_duplicates_again();
