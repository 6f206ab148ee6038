-- Up Migration

-- How many there were lately is counted at every invitation, per namespace and per account.
CREATE INDEX ix_invitations_namespace_id_created_at ON invitations (namespace_id, created_at);
CREATE INDEX ix_invitations_created_by_created_at ON invitations (created_by, created_at);
