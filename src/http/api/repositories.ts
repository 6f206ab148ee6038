/** `/api/v1/repositories/NAME/-`: what can be seen and changed of a repository. */
import { z } from 'zod';
import { enforce, repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup, Standing } from '../../access/lookup.ts';
import { decide, visibilities, type RepositoryAction, type Visibility } from '../../access/policy.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { lockRepository } from '../../registry/sql/repositories.ts';
import { anonymousCaller, type ApiCaller } from './caller.ts';
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
  /** @throws what `enforce` throws; 404 for what the caller may not see, also for changes */
  async function authorize(caller: ApiCaller | null, name: RepositoryName, action: RepositoryAction) {
    const { caller: asking } = caller ?? anonymousCaller;
    const standing = await lookup(asking, name);
    const decision = decide(standing.subject, asking.scopes, name, action, standing.facts);
    if (decision.outcome === 'invisible') throw repositoryUnknown(name, standing.subject);
    enforce(decision, standing.subject, name, action);
    return found(name, standing);
  }

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
        body: bodyOf(name, (await authorize(caller, name, 'pull')).visibility),
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
        const { repositoryId } = await authorize(caller, name, 'settings');
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

/** Who may do everything everywhere may also ask for what is not there. */
function found(name: RepositoryName, { repositoryId, facts, subject }: Standing) {
  if (repositoryId === null || facts.visibility === null) throw repositoryUnknown(name, subject);
  return { repositoryId, visibility: facts.visibility };
}
