-- Up Migration

-- People ---------------------------------------------------------------------------------------------------------------

ALTER TABLE users
  -- Lower case; null for accounts that an administrator made without one.
  ADD COLUMN email text COLLATE "C" CONSTRAINT uq_users_email UNIQUE,
  ADD COLUMN email_verified_at timestamptz,
  -- The second factor: a secret is there from its set-up on, and counts from totp_enabled_at on.
  ADD COLUMN totp_secret text,
  ADD COLUMN totp_enabled_at timestamptz,
  -- The last time step that was used: a code works once.
  ADD COLUMN totp_last_step bigint,
  ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
  ADD CONSTRAINT ck_users_email CHECK (length(email) BETWEEN 3 AND 254 AND email = lower(email)),
  ADD CONSTRAINT ck_users_totp CHECK (totp_enabled_at IS NULL OR totp_secret IS NOT NULL);

CREATE TABLE recovery_codes (
  user_id bigint NOT NULL CONSTRAINT fk_recovery_codes_user_id REFERENCES users (id),
  -- SHA-256 in hex. A used code is deleted.
  code_hash text COLLATE "C" NOT NULL,
  CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, code_hash)
);

-- Namespaces: a person's, or an organization's ----------------------------------------------------------------------------

ALTER TABLE namespaces ADD COLUMN kind text;
UPDATE namespaces SET kind = CASE WHEN name = '_' THEN 'system' WHEN owner_id IS NOT NULL THEN 'user' ELSE 'organization' END;
INSERT INTO namespaces (name, kind) VALUES ('_', 'system') ON CONFLICT (name) DO NOTHING;
ALTER TABLE namespaces
  ALTER COLUMN kind SET NOT NULL,
  ADD COLUMN description text NOT NULL DEFAULT '',
  ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
  ADD CONSTRAINT ck_namespaces_kind CHECK (kind IN ('user', 'organization', 'system')),
  ADD CONSTRAINT ck_namespaces_owner_id CHECK ((kind = 'user') = (owner_id IS NOT NULL));

-- Roles: 1 reader, 2 developer (push), 3 maintainer (delete, settings, retention), 4 owner (members).

CREATE TABLE namespace_members (
  namespace_id bigint NOT NULL CONSTRAINT fk_namespace_members_namespace_id REFERENCES namespaces (id),
  user_id bigint NOT NULL CONSTRAINT fk_namespace_members_user_id REFERENCES users (id),
  role smallint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT pk_namespace_members PRIMARY KEY (namespace_id, user_id),
  CONSTRAINT ck_namespace_members_role CHECK (role BETWEEN 1 AND 4)
);
CREATE INDEX ix_namespace_members_user_id ON namespace_members (user_id);

CREATE TABLE teams (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_teams PRIMARY KEY,
  namespace_id bigint NOT NULL CONSTRAINT fk_teams_namespace_id REFERENCES namespaces (id),
  name text COLLATE "C" NOT NULL,
  -- What its members are in the whole organization; null: only where the team is a collaborator.
  role smallint,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT uq_teams_namespace_id_name UNIQUE (namespace_id, name),
  CONSTRAINT ck_teams_name CHECK (length(name) BETWEEN 1 AND 64),
  CONSTRAINT ck_teams_role CHECK (role BETWEEN 1 AND 4)
);

CREATE TABLE team_members (
  team_id bigint NOT NULL CONSTRAINT fk_team_members_team_id REFERENCES teams (id),
  user_id bigint NOT NULL CONSTRAINT fk_team_members_user_id REFERENCES users (id),
  CONSTRAINT pk_team_members PRIMARY KEY (team_id, user_id)
);
CREATE INDEX ix_team_members_user_id ON team_members (user_id);

CREATE TABLE collaborators (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_collaborators PRIMARY KEY,
  repository_id bigint NOT NULL CONSTRAINT fk_collaborators_repository_id REFERENCES repositories (id),
  user_id bigint CONSTRAINT fk_collaborators_user_id REFERENCES users (id),
  team_id bigint CONSTRAINT fk_collaborators_team_id REFERENCES teams (id),
  role smallint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT ck_collaborators_who CHECK ((user_id IS NULL) <> (team_id IS NULL)),
  CONSTRAINT ck_collaborators_role CHECK (role BETWEEN 1 AND 4),
  CONSTRAINT uq_collaborators_repository_id_user_id UNIQUE (repository_id, user_id),
  CONSTRAINT uq_collaborators_repository_id_team_id UNIQUE (repository_id, team_id)
);
CREATE INDEX ix_collaborators_user_id ON collaborators (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX ix_collaborators_team_id ON collaborators (team_id) WHERE team_id IS NOT NULL;

-- All of the above, expanded: the one place where a request looks for a role. Written by whoever writes the above, in the
-- same transaction (access/sql/roles.ts). repository_id 0 is the whole namespace.
CREATE TABLE granted_roles (
  user_id bigint NOT NULL CONSTRAINT fk_granted_roles_user_id REFERENCES users (id),
  namespace_id bigint NOT NULL CONSTRAINT fk_granted_roles_namespace_id REFERENCES namespaces (id),
  repository_id bigint NOT NULL,
  role smallint NOT NULL,
  CONSTRAINT pk_granted_roles PRIMARY KEY (user_id, namespace_id, repository_id) INCLUDE (role),
  CONSTRAINT ck_granted_roles_role CHECK (role BETWEEN 1 AND 4)
);
CREATE INDEX ix_granted_roles_namespace_id ON granted_roles (namespace_id, repository_id);

-- Namespaces that an administrator's push once made belonged to nobody; now they are organizations of the administrators.
INSERT INTO namespace_members (namespace_id, user_id, role)
SELECT n.id, u.id, 4 FROM namespaces n CROSS JOIN users u WHERE n.kind = 'organization' AND u.is_admin;
INSERT INTO granted_roles (user_id, namespace_id, repository_id, role)
SELECT owner_id, id, 0, 4 FROM namespaces WHERE kind = 'user'
UNION ALL SELECT user_id, namespace_id, 0, role FROM namespace_members;

-- Repositories ------------------------------------------------------------------------------------------------------------

ALTER TABLE repositories
  DROP CONSTRAINT ck_repositories_visibility,
  ADD CONSTRAINT ck_repositories_visibility CHECK (visibility IN ('private', 'internal', 'public')),
  ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Former names, by which pulls still find the repository until somebody takes the name.
CREATE TABLE repository_aliases (
  name text COLLATE "C" CONSTRAINT pk_repository_aliases PRIMARY KEY,
  repository_id bigint NOT NULL CONSTRAINT fk_repository_aliases_repository_id REFERENCES repositories (id),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_repository_aliases_repository_id ON repository_aliases (repository_id);

-- Credentials ---------------------------------------------------------------------------------------------------------------

ALTER TABLE credentials
  -- Tokens and robots have names; a robot's full name is NAMESPACE+NAME or NAMESPACE/REPOSITORY+NAME.
  ADD COLUMN name text COLLATE "C",
  -- A robot's owner: an organization, or one repository.
  ADD COLUMN namespace_id bigint CONSTRAINT fk_credentials_namespace_id REFERENCES namespaces (id),
  ADD COLUMN repository_id bigint,
  -- What it may do of what its account may: [{"repositories": "acme/*", "actions": ["pull"]}]. Null: everything. Never
  -- changed: another set is another row.
  ADD COLUMN grants jsonb,
  -- What it may do at /api/v1: nothing but this. Passwords and sessions have null, and no such limit.
  ADD COLUMN api_scopes text[],
  -- The row that this one was rotated from.
  ADD COLUMN rotated_from bigint CONSTRAINT fk_credentials_rotated_from REFERENCES credentials (id),
  ADD COLUMN created_by bigint CONSTRAINT fk_credentials_created_by REFERENCES users (id),
  ADD COLUMN last_used_at timestamptz,
  ADD COLUMN last_used_address text,
  ADD COLUMN last_used_client text,
  DROP CONSTRAINT ck_credentials_kind,
  ADD CONSTRAINT ck_credentials_kind CHECK (kind IN ('anonymous', 'password', 'refresh_token', 'session', 'token', 'robot')),
  DROP CONSTRAINT ck_credentials_user_id,
  ADD CONSTRAINT ck_credentials_user_id CHECK ((kind IN ('anonymous', 'robot')) = (user_id IS NULL) OR (kind = 'refresh_token')),
  ADD CONSTRAINT ck_credentials_name CHECK ((kind IN ('token', 'robot')) = (name IS NOT NULL)),
  ADD CONSTRAINT ck_credentials_namespace_id CHECK ((kind = 'robot') = (namespace_id IS NOT NULL)),
  ADD CONSTRAINT ck_credentials_repository_id CHECK (repository_id IS NULL OR kind = 'robot'),
  ADD CONSTRAINT ck_credentials_grants CHECK ((kind IN ('token', 'robot')) = (grants IS NOT NULL)),
  ADD CONSTRAINT ck_credentials_api_scopes CHECK ((kind IN ('token', 'robot')) = (api_scopes IS NOT NULL));
DROP INDEX uq_credentials_secret_hash;
CREATE UNIQUE INDEX uq_credentials_secret_hash ON credentials (secret_hash) WHERE kind IN ('refresh_token', 'session', 'token', 'robot');
CREATE INDEX ix_credentials_user_id_kind ON credentials (user_id, kind, id) WHERE user_id IS NOT NULL AND kind <> 'password';
CREATE INDEX ix_credentials_namespace_id ON credentials (namespace_id, id) WHERE namespace_id IS NOT NULL;
CREATE INDEX ix_credentials_repository_id ON credentials (repository_id) WHERE repository_id IS NOT NULL;

-- Links that are mailed, or given by an administrator, and work once ------------------------------------------------------------

CREATE TABLE one_time_links (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_one_time_links PRIMARY KEY,
  purpose text NOT NULL,
  -- SHA-256 in hex.
  token_hash text COLLATE "C" NOT NULL CONSTRAINT uq_one_time_links_token_hash UNIQUE,
  -- Whose address it proves; null where an administrator gave it to an account without one.
  email text COLLATE "C",
  user_id bigint CONSTRAINT fk_one_time_links_user_id REFERENCES users (id),
  created_by bigint CONSTRAINT fk_one_time_links_created_by REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  CONSTRAINT ck_one_time_links_purpose CHECK (purpose IN ('registration', 'verify_email', 'password_reset')),
  CONSTRAINT ck_one_time_links_user_id CHECK ((purpose = 'registration') = (user_id IS NULL))
);
CREATE INDEX ix_one_time_links_expires_at ON one_time_links (expires_at);
CREATE INDEX ix_one_time_links_email ON one_time_links (email) WHERE used_at IS NULL;
CREATE INDEX ix_one_time_links_user_id ON one_time_links (user_id) WHERE used_at IS NULL;

-- Somebody is asked to join an organization, or to work on one repository. Nobody who asks learns whether the name or the
-- address that was typed is somebody's.
CREATE TABLE invitations (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_invitations PRIMARY KEY,
  namespace_id bigint NOT NULL CONSTRAINT fk_invitations_namespace_id REFERENCES namespaces (id),
  -- Null: the whole organization.
  repository_id bigint CONSTRAINT fk_invitations_repository_id REFERENCES repositories (id),
  role smallint NOT NULL,
  -- As it was typed: an account's name, or an address.
  invitee text COLLATE "C" NOT NULL,
  -- The account, if there was one of that name when it was invited. One that takes the name later is somebody else.
  user_id bigint CONSTRAINT fk_invitations_user_id REFERENCES users (id),
  -- For invitations by mail: SHA-256 in hex of what the link holds.
  token_hash text COLLATE "C" CONSTRAINT uq_invitations_token_hash UNIQUE,
  created_by bigint NOT NULL CONSTRAINT fk_invitations_created_by REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  accepted_at timestamptz,
  revoked_at timestamptz,
  CONSTRAINT ck_invitations_role CHECK (role BETWEEN 1 AND 4)
);
CREATE UNIQUE INDEX uq_invitations_open ON invitations (namespace_id, COALESCE(repository_id, 0), invitee)
  WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX ix_invitations_user_id ON invitations (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX ix_invitations_repository_id ON invitations (repository_id) WHERE repository_id IS NOT NULL;

-- Signing keys: when a key was replaced, so that it can be forgotten once its last token is dead.
ALTER TABLE signing_keys ADD COLUMN replaced_at timestamptz;
UPDATE signing_keys k SET replaced_at = now()
  WHERE EXISTS (SELECT 1 FROM signing_keys newer WHERE (newer.created_at, newer.kid) > (k.created_at, k.kid));
