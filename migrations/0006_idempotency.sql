-- Up Migration

-- What was answered to a POST that brought an Idempotency-Key, for a day: whoever sends it again gets the same answer and
-- creates nothing. The row is written in the transaction of the creation itself, so there is neither without the other.
CREATE TABLE idempotency_keys (
  credential_id bigint NOT NULL,
  operation text COLLATE "C" NOT NULL,
  -- SHA-256. The key itself is not kept: the answer is encrypted under it.
  key_hash bytea NOT NULL,
  -- What was asked for, as a MAC under the key.
  fingerprint bytea NOT NULL,
  -- AES-256-GCM: nonce, text, tag. Null only within the transaction that creates.
  answer bytea,
  expires_at timestamptz NOT NULL,
  CONSTRAINT pk_idempotency_keys PRIMARY KEY (credential_id, operation, key_hash)
);
CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at);
