-- Up Migration

-- Counters of rate limits where several processes count together. Their shape is that of rate-limiter-flexible, which
-- inserts by position. Unlogged: a crash of PostgreSQL forgives everybody, and no counter costs a commit's wait.
CREATE UNLOGGED TABLE rate_limits (
  key text COLLATE "C" CONSTRAINT pk_rate_limits PRIMARY KEY,
  points integer NOT NULL DEFAULT 0,
  -- Milliseconds since 1970.
  expire bigint
);
CREATE INDEX ix_rate_limits_expire ON rate_limits (expire);

-- Failed sign-ins of an account from an address, of an address and of an account, by hashed key. Unlogged, like the above.
CREATE UNLOGGED TABLE sign_in_failures (
  key text COLLATE "C" CONSTRAINT pk_sign_in_failures PRIMARY KEY,
  -- Failures beyond those that are free; negative while there are free ones left.
  excess integer NOT NULL,
  -- Milliseconds since 1970: when the next attempt may be made, and when all this is forgotten.
  free_at bigint NOT NULL,
  forget_at bigint NOT NULL,
  -- The last attempt that was let through: only it can take its own delay back.
  attempt uuid NOT NULL
);
CREATE INDEX ix_sign_in_failures_forget_at ON sign_in_failures (forget_at);

-- Networks (IPv4 /24, IPv6 /64) from which an account signed in with its password: strangers' failures do not lock it out there.
CREATE TABLE known_addresses (
  user_id bigint NOT NULL CONSTRAINT fk_known_addresses_user_id REFERENCES users (id) ON DELETE CASCADE,
  network text COLLATE "C" NOT NULL,
  last_seen_on date NOT NULL,
  CONSTRAINT pk_known_addresses PRIMARY KEY (user_id, network)
);
CREATE INDEX ix_known_addresses_last_seen_on ON known_addresses (last_seen_on);
