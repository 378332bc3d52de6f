CREATE TABLE effects (position bigint GENERATED ALWAYS AS IDENTITY, event_id text, body text)
