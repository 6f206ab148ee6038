-- Up Migration

-- A store whose places can be neither listed nor read back (S3: multipart uploads) is told of in rows before bytes go there.
ALTER TABLE uploads
  -- Places (storage/port.ts) that may hold bytes of the upload beside storage_state: noted before their first byte, and not
  -- recorded yet, or never to be. When the session ends they go into storage_deletions.
  ADD COLUMN other_places jsonb NOT NULL DEFAULT '[]',
  -- Its bytes became an object before their digest was known: nothing can be appended any more.
  ADD COLUMN closed boolean NOT NULL DEFAULT false,
  -- digest_so_far is null, too, where the bytes came through several processes and cannot be read back to be hashed.
  DROP CONSTRAINT ck_uploads_byte_offset,
  ADD CONSTRAINT ck_uploads_byte_offset CHECK (byte_offset >= 0 AND (byte_offset = 0 OR storage_state IS NOT NULL));

ALTER TABLE storage_deletions
  ALTER COLUMN storage_key DROP NOT NULL,
  -- A place instead of a key: what was begun there is given up, and an object that it became goes unless a blob has it.
  ADD COLUMN upload_state jsonb,
  ADD CONSTRAINT ck_storage_deletions_upload_state CHECK (num_nonnulls(storage_key, upload_state) = 1);
