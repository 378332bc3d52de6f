-- When each team's boards are due next. Taken with FOR UPDATE SKIP LOCKED: restarts and replicas neither lose nor double a morning.
CREATE TABLE board_mornings (
    team_id text        PRIMARY KEY REFERENCES teams,
    due_at  timestamptz NOT NULL
);
CREATE INDEX board_mornings_due ON board_mornings (due_at);

-- Who was told of what on which day, for some weeks.
CREATE TABLE boards_told (
    board        text NOT NULL,
    recipient_id text NOT NULL,
    day          date NOT NULL,
    PRIMARY KEY (board, recipient_id, day)
);
CREATE INDEX boards_told_day ON boards_told (day);
