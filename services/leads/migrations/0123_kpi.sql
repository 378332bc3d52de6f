-- On-time response is a KPI of everybody's performance, with a weight of at least 15 % (7).
ALTER TABLE organisation_settings
    ADD COLUMN on_time_weight double precision NOT NULL DEFAULT 0.15 CHECK (on_time_weight BETWEEN 0.15 AND 1);
