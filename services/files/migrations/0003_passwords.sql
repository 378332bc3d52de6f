-- The password of an encrypted export (36), sealed for its id: there while the job waits or is made, and erased with its end.
ALTER TABLE export_job ADD COLUMN sealed_password bytea;
