-- Up Migration

-- What is deleted leaves its history: tag_history, audit_log and credentials outlive the repository or namespace that they
-- name. Identities are never given twice.
ALTER TABLE tag_history DROP CONSTRAINT fk_tag_history_repository_id;
ALTER TABLE credentials DROP CONSTRAINT fk_credentials_namespace_id;
