-- Which Berth may run on this schema. Migrations add, so that old processes go on beside new ones while they are replaced
-- one by one; one that takes away what an older Berth reads or writes says here, in the same file, with which migration the
-- oldest Berth came that can live with that:
--   UPDATE schema_minimum SET migration = '0042_name';
CREATE TABLE schema_minimum (
  -- There is one row.
  id boolean NOT NULL DEFAULT true CONSTRAINT ck_schema_minimum_id CHECK (id),
  migration text COLLATE "C" NOT NULL,
  CONSTRAINT pk_schema_minimum PRIMARY KEY (id)
);
INSERT INTO schema_minimum (migration) VALUES ('0012_schema_minimum');
