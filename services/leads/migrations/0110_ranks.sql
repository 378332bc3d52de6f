-- 职级: rules may pass over juniors (4, 56). A constant default rewrites nothing.
ALTER TABLE people ADD COLUMN rank integer NOT NULL DEFAULT 0;
