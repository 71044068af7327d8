-- Cameras added by the API; those of the configuration file are not here.
-- The definition is JSON that only the live plane's side reads; it may hold credentials.

CREATE TABLE cameras (
    id         TEXT   NOT NULL PRIMARY KEY,
    definition TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
