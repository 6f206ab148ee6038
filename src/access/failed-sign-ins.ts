/** Sign-ins that failed, for the audit log. */
import type { Queryer } from '../database/pool.ts';
import type { DeniedRecorder } from '../events/denied.ts';
import type { RequestOrigin } from './actor.ts';
import { anonymousCredentialId } from './caller.ts';
import { findUser } from './sql/accounts.ts';

/** Written behind the answer, and within bounds; to be waited for, so that it takes the same time whoever it was. */
export type NoteFailure = (username: string, reason: string, origin: RequestOrigin) => Promise<void>;

export function createNoteFailure({ database, denied }: { database: Queryer; denied: DeniedRecorder }): NoteFailure {
  return async (username, reason, { address, client, requestId }) => {
    // PostgreSQL's text has no NUL, and so no account's name.
    const user = username.includes('\0') ? undefined : await findUser(database, { name: username });
    const nobody = { credentialId: anonymousCredentialId, userId: null, name: 'anonymous' };
    denied.record(
      { ...nobody, address, client, requestId },
      {
        action: 'sign_in.fail',
        namespaceId: user?.namespace_id ?? undefined,
        // The name as it was typed is not written down: it may be a password in the wrong field.
        target: user?.name ?? 'no account',
        reason: (user?.disabled_at ?? null) === null ? reason : 'the account is disabled',
      },
    );
  };
}
