/** `/api/v1/repositories/NAME/-`: what can be seen and changed of a repository. */
import { z } from 'zod';
import { repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup } from '../../access/lookup.ts';
import { allowedActions, repositoryActions, visibilities, type Visibility } from '../../access/policy.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { lockRepository } from '../../registry/sql/repositories.ts';
import type { Scope } from '../../access/scopes.ts';
import { anonymousCaller } from './caller.ts';
import { authorizeRepository, type Authorized } from './authorize.ts';
import { defineOperation, type Operation } from './operation.ts';
import { repositoryNameParam } from './schemas.ts';

export interface RepositoryOperationsParts {
  readonly lookup: Lookup;
  readonly repositories: Repositories;
}

const params = z.strictObject({ name: repositoryNameParam });
const visibility = z.enum(visibilities).meta({
  description: 'Who may pull: its members, everybody who is signed in, or everybody.',
});
const can = z
  .strictObject({
    pull: z.boolean(),
    push: z.boolean(),
    delete: z.boolean().meta({ description: 'Tags, manifests and blobs in it.' }),
    settings: z.boolean().meta({ description: 'Its visibility and its name.' }),
    members: z.boolean().meta({ description: 'Who has a role on it; also to move it elsewhere, and to delete it.' }),
  })
  .meta({ description: 'What the caller may do, with the credential of this request.' });
const repositorySchema = z.strictObject({ name: z.string(), visibility, can }).meta({ id: 'Repository' });

export function repositoryOperations({ lookup, repositories }: RepositoryOperationsParts): readonly Operation[] {
  return [
    defineOperation({
      id: 'getRepository',
      method: 'get',
      path: '/repositories/{name+}/-',
      summary: 'Look at a repository',
      description: 'A former name finds it, too; the answer has the present one.',
      tags: ['repositories'],
      access: 'anyone',
      apiScope: null,
      effect: 'reads',
      params,
      answers: { 200: repositorySchema },
      async handler({ caller, params: { name } }) {
        const found = await authorizeRepository(lookup, caller, name, 'pull');
        const now = await repositories.nameOf(found.repositoryId);
        if (now === undefined) throw repositoryUnknown(name, found.subject);
        return { status: 200, ...partsOf(now, found, found.visibility, (caller ?? anonymousCaller).caller.scopes) };
      },
    }),
    defineOperation({
      id: 'changeRepository',
      method: 'patch',
      path: '/repositories/{name+}/-',
      summary: 'Change who may see a repository',
      tags: ['repositories'],
      access: 'signed-in',
      apiScope: null,
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params,
      body: z.strictObject({ visibility }),
      answers: { 200: repositorySchema },
      async handler({ caller, params: { name }, body, queryer, actor, checkIfMatch }) {
        const found = await authorizeRepository(lookup, caller, name, 'settings');
        const { repositoryId } = found;
        const locked = await lockRepository(queryer, repositoryId);
        if (locked === undefined) throw repositoryUnknown(name, found.subject);
        checkIfMatch(versionOf(name, locked.visibility));
        await repositories.setVisibility(queryer, repositoryId, body.visibility, actor);
        return { status: 200, ...partsOf(name, found, body.visibility, caller.caller.scopes) };
      },
    }),
  ];
}

/** What an editor edits: what the caller may do is not part of it. */
export const versionOf = (name: RepositoryName, seenBy: Visibility) => ({ name, visibility: seenBy });

function partsOf(
  name: RepositoryName,
  { subject, facts }: Authorized,
  seenBy: Visibility,
  scopes: readonly Scope[] | null,
) {
  const allowed = allowedActions(subject, scopes, name, { ...facts, visibility: seenBy });
  const rights = Object.fromEntries(repositoryActions.map((action) => [action, allowed.includes(action)]));
  const body = { name, visibility: seenBy, can: rights as z.input<typeof can> };
  return { body, version: versionOf(name, seenBy) };
}
