-- Up Migration

-- Where graphile-worker, the background runner, keeps its queue. It makes all else in here itself at its first start; this much
-- is made here so that missing rights stop the migration with one sentence, and not the background work later on.
CREATE SCHEMA IF NOT EXISTS graphile_worker;
CREATE TABLE IF NOT EXISTS graphile_worker.migrations (
  id integer PRIMARY KEY,
  ts timestamptz NOT NULL DEFAULT now(),
  breaking boolean NOT NULL DEFAULT false
);
