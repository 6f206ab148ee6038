-- Up Migration

-- Every change and every denied attempt at one. A row outlives what it speaks of, so nothing here refers to other tables, and
-- names stand beside ids.
CREATE TABLE audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT uq_audit_log_id UNIQUE,
  -- When the row was written, not when its transaction began. To the millisecond, which is all that a client's clock can ask for.
  at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
  credential_id bigint,
  user_id bigint,
  actor_name text COLLATE "C" NOT NULL,
  -- Text: what a proxy says is not always an address.
  address text COLLATE "C",
  client text,
  request_id text COLLATE "C",
  action text COLLATE "C" NOT NULL,
  outcome text NOT NULL,
  namespace_id bigint,
  repository_id bigint,
  target text COLLATE "C" NOT NULL,
  -- json, not jsonb: it is kept as it was said, and text with U+0000 in it is no reason to refuse a row.
  before json,
  after json,
  reason text,
  -- Newest first is (at, id) downwards, so every index ends in it: a search, `since` and `until` included, is a walk along one.
  CONSTRAINT pk_audit_log PRIMARY KEY (at, id),
  CONSTRAINT ck_audit_log_outcome CHECK (outcome IN ('done', 'denied'))
);
CREATE INDEX ix_audit_log_actor_name ON audit_log (actor_name, at, id);
CREATE INDEX ix_audit_log_action ON audit_log (action, at, id);
CREATE INDEX ix_audit_log_user_id ON audit_log (user_id, at, id) WHERE user_id IS NOT NULL;
CREATE INDEX ix_audit_log_namespace_id ON audit_log (namespace_id, at, id) WHERE namespace_id IS NOT NULL;
CREATE INDEX ix_audit_log_repository_id ON audit_log (repository_id, at, id) WHERE repository_id IS NOT NULL;

-- Rows only ever come, and go by berth_expire_audit. That function leaves the id of its transaction in a setting, which the
-- trigger compares with its own: a plain on/off setting could be left on in a session of a pool, or in ALTER ROLE, and would
-- then open the log to everything; this one opens it to one statement of one transaction. SECURITY DEFINER would tell nobody
-- apart, as Berth is the table's owner in most installations. A superuser or the owner who means to can always drop the trigger.
CREATE FUNCTION berth_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('berth.audit_expiry', true) = pg_current_xact_id()::text THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'Rows go by age alone: see BERTH_AUDIT_RETENTION_DAYS.';
END
$$;

-- By statement: TRUNCATE knows no rows, and a statement that would have hit none is as wrong.
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION berth_refuse_audit_change();
-- ALWAYS: otherwise session_replication_role = replica would switch it off.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;

-- Deletes the oldest rows above this age, at most rows_max of them, and returns how many. Any number may run at once.
CREATE FUNCTION berth_expire_audit(older_than_days integer, rows_max integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  expired integer;
BEGIN
  IF older_than_days IS NULL OR older_than_days < 1 THEN
    RAISE EXCEPTION 'rows of audit_log are kept for one day at least' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- Local to the transaction, and undone with it when it fails.
  PERFORM set_config('berth.audit_expiry', pg_current_xact_id()::text, true);
  DELETE FROM audit_log WHERE (at, id) IN (
    SELECT at, id FROM audit_log
    WHERE at < clock_timestamp() - make_interval(days => older_than_days)
    ORDER BY at, id LIMIT rows_max FOR UPDATE SKIP LOCKED
  );
  GET DIAGNOSTICS expired = ROW_COUNT;
  PERFORM set_config('berth.audit_expiry', '', true);
  RETURN expired;
END
$$;
