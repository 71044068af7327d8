-- What changed, for other processes on this file; PostgreSQL tells of it by NOTIFY instead.
CREATE TABLE changes (
    seq    INTEGER NOT NULL PRIMARY KEY,
    origin TEXT    NOT NULL,                  -- name of the process that changed it
    tags   TEXT    NOT NULL
);

-- Who is further behind than this takes everything as changed.
CREATE TRIGGER changes_bounded AFTER INSERT ON changes BEGIN
    DELETE FROM changes WHERE seq <= NEW.seq - 1000;
END;
