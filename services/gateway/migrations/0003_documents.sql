-- PDF (41): the version of the template that was asked for, what a batch of letters says, and by what the file was made.
ALTER TABLE exports
    ADD COLUMN template_version text NOT NULL DEFAULT '',
    ADD COLUMN letter           jsonb,
    ADD COLUMN document         jsonb;
