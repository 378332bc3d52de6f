-- Forms that go live by configuration (69, 121): a document of kind `form:NAME` each, and which form a lead came by.
ALTER TABLE leads ADD COLUMN form text NOT NULL DEFAULT '';
CREATE INDEX leads_form ON leads (form, captured_at) WHERE form <> '';
