-- While a backup is made no object is deleted from storage: objects are copied after the database was dumped, and whatever
-- the dump names must still be there. A hold ends by itself, so that one that was forgotten does not fill the storage.
CREATE TABLE storage_holds (
  -- There is at most one.
  id integer NOT NULL DEFAULT 1,
  held_at timestamptz NOT NULL DEFAULT now(),
  held_until timestamptz NOT NULL,
  held_by text,
  CONSTRAINT pk_storage_holds PRIMARY KEY (id),
  CONSTRAINT ck_storage_holds_id CHECK (id = 1),
  CONSTRAINT ck_storage_holds_held_until CHECK (held_until > held_at)
);
