-- Up Migration

-- Dead sessions are deleted, and for each one PostgreSQL looks for rows that name it.
CREATE INDEX ix_credentials_rotated_from ON credentials (rotated_from) WHERE rotated_from IS NOT NULL;
CREATE INDEX ix_uploads_credential_id ON uploads (credential_id);
CREATE INDEX ix_tag_history_credential_id ON tag_history (credential_id);

-- Which sessions are over: the few that are, among all credentials that ever were.
CREATE INDEX ix_credentials_session_expires_at ON credentials (expires_at) WHERE kind = 'session';

-- How many links were asked for lately counts those that are used or replaced, too.
DROP INDEX ix_one_time_links_email, ix_one_time_links_user_id;
CREATE INDEX ix_one_time_links_email ON one_time_links (email, created_at) WHERE email IS NOT NULL;
CREATE INDEX ix_one_time_links_user_id ON one_time_links (user_id, created_at) WHERE user_id IS NOT NULL;
