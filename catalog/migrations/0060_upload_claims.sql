-- Several servers may verify the uploads of one catalog: whoever claims an upload holds it for a while and
-- has to say again and again that it is still at it.

ALTER TABLE uploads ADD COLUMN claim TEXT;                              -- who verifies it: made up anew for each attempt
ALTER TABLE uploads ADD COLUMN held_until_ms BIGINT NOT NULL DEFAULT 0; -- while verifying; nobody else takes it before
