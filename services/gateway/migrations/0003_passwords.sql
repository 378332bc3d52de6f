-- The password of an encrypted export (36), sealed for its job: there while somebody may have to make its file, and erased
-- with its end; a follow-up has it from the export that it supersedes.
ALTER TABLE exports ADD COLUMN sealed_password bytea;
