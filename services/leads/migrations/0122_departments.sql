-- The import that named a team's supervisor: within one file the first head of a department stands, a later file overrules.
ALTER TABLE teams ADD COLUMN supervisor_import uuid;
