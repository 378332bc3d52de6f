-- The latest order for each edge, until it would have ended by itself: what ops has to bring to processes that start later.
-- An empty caller is every caller; `content` is a breakwater.edges.v1.Override. The record of who did what is the timeline.
CREATE TABLE override_orders (
    dependency text NOT NULL,
    caller     text NOT NULL,
    set_at     timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (dependency, caller)
);
