/** `/api/v1/repositories/NAME/-`: what can be seen and changed of a repository. */
import { z } from 'zod';
import { repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup } from '../../access/lookup.ts';
import { visibilities, type Visibility } from '../../access/policy.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { lockRepository } from '../../registry/sql/repositories.ts';
import { authorizeRepository } from './authorize.ts';
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
const repositorySchema = z.strictObject({ name: z.string(), visibility }).meta({ id: 'Repository' });

export function repositoryOperations({ lookup, repositories }: RepositoryOperationsParts): readonly Operation[] {
  return [
    defineOperation({
      id: 'getRepository',
      method: 'get',
      path: '/repositories/{name+}/-',
      summary: 'Look at a repository',
      tags: ['repositories'],
      access: 'anyone',
      apiScope: null,
      effect: 'reads',
      params,
      answers: { 200: repositorySchema },
      handler: async ({ caller, params: { name } }) => ({
        status: 200,
        body: bodyOf(name, (await authorizeRepository(lookup, caller, name, 'pull')).visibility),
      }),
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
        const { repositoryId } = await authorizeRepository(lookup, caller, name, 'settings');
        const locked = await lockRepository(queryer, repositoryId);
        if (locked === undefined) throw repositoryUnknown(name);
        checkIfMatch(bodyOf(name, locked.visibility));
        await repositories.setVisibility(queryer, repositoryId, body.visibility, actor);
        return { status: 200, body: bodyOf(name, body.visibility) };
      },
    }),
  ];
}

function bodyOf(name: RepositoryName, seenBy: Visibility): z.input<typeof repositorySchema> {
  return { name, visibility: seenBy };
}
