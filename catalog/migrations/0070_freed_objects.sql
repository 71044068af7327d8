-- Objects whose assets were purged, until they are removed from the store. Whoever removes one holds it
-- for a while; whoever is to use it takes it off the list before, and waits while it is held.

CREATE TABLE freed_objects (
    object_key    TEXT   NOT NULL PRIMARY KEY,
    claim         TEXT,                       -- who removes it: made up anew for each attempt
    held_until_ms BIGINT NOT NULL DEFAULT 0   -- afterwards anyone may
);
