/** Repositories made, renamed, moved and deleted. */
import { z } from 'zod';
import type { Lookup } from '../../access/lookup.ts';
import { visibilities, type Visibility } from '../../access/policy.ts';
import { ApiError } from '../../oci/problem.ts';
import { deleteRepository, planRepositoryDeletion, type DeletionPlan } from '../../registry/delete-repositories.ts';
import { rename } from '../../registry/rename.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { authorizeCreation, authorizeRepository } from './authorize.ts';
import { defineOperation, type Operation } from './operation.ts';
import { versionOf } from './repositories.ts';
import { dryRunQuery, repositoryNameField, repositoryNameParam } from './schemas.ts';

export interface RepositoryChangesParts {
  readonly lookup: Lookup;
  readonly repositories: Repositories;
  readonly reviewDelayHours: number;
}

const params = z.strictObject({ name: repositoryNameParam });
const createdSchema = z.strictObject({ name: z.string(), visibility: z.enum(visibilities) });

/** What goes, in numbers. */
export const deletionPlanShape = {
  repositories: z.array(z.string()).meta({ description: 'The repositories that go, in byte order.' }),
  tags: z.number(),
  manifests: z.number(),
  blobs: z.number(),
  bytesFreed: z.number().meta({ description: 'What no other repository uses; freed by garbage collection later.' }),
};
const planSchema = z
  .strictObject({ ...deletionPlanShape, dryRun: z.boolean() })
  .meta({ id: 'RepositoryDeletion', description: 'What a deletion takes away, or has taken away.' });

export function repositoryChangeOperations({
  lookup,
  repositories,
  reviewDelayHours,
}: RepositoryChangesParts): readonly Operation[] {
  return [
    defineOperation({
      id: 'createRepository',
      method: 'post',
      path: '/repositories',
      summary: 'Make an empty repository',
      description: 'A first push does the same. A former name of another repository is taken by it.',
      tags: ['repositories'],
      access: 'signed-in',
      apiScope: null,
      effect: 'creates',
      body: z.strictObject({ name: repositoryNameField, visibility: z.enum(visibilities).optional() }),
      answers: { 201: createdSchema },
      async handler({ caller, body: { name, visibility }, queryer, actor }) {
        await authorizeCreation(lookup, caller, name);
        const made = await repositories.create(queryer, name, visibility, actor);
        return {
          status: 201,
          body: { name, visibility: made },
          headers: { Location: `/api/v1/repositories/${name}/-` },
        };
      },
    }),
    defineOperation({
      id: 'renameRepository',
      method: 'post',
      path: '/repositories/{name+}/-/rename',
      summary: 'Rename a repository, or move it to another namespace',
      description:
        'Pulls by the old name go on until somebody takes it. Within a namespace it takes the role maintainer; to another ' +
        'namespace the role owner, and the right to make repositories there. Roles of teams and robots do not move along.',
      tags: ['repositories'],
      access: 'signed-in',
      apiScope: null,
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params,
      body: z.strictObject({ to: repositoryNameField }),
      answers: { 200: createdSchema },
      async handler({ caller, params: { name }, body: { to }, queryer, actor, checkIfMatch }) {
        const { repositoryId, namespaceId, visibility } = await authorizeRepository(lookup, caller, name, 'settings');
        const target = await authorizeCreation(lookup, caller, to);
        if (target.namespaceId === null)
          throw new ApiError('unprocessable', `there is no namespace to move ${name} to; make the organization first`);
        if (target.namespaceId !== namespaceId) await authorizeRepository(lookup, caller, name, 'members');
        if (target.taken) throw new ApiError('conflict', `the name ${to} is taken; choose another one`);
        const check = (seenBy: Visibility): void => checkIfMatch(versionOf(name, seenBy));
        await rename(queryer, { repositoryId, name, namespaceId, to, toNamespaceId: target.namespaceId, check }, actor);
        return { status: 200, body: { name: to, visibility } };
      },
    }),
    defineOperation({
      id: 'deleteRepository',
      method: 'delete',
      path: '/repositories/{name+}/-',
      summary: 'Delete a repository with all that is in it',
      description:
        'With dry_run=1 it says what would go. The entity tag of that answer, as If-Match, deletes exactly that.',
      tags: ['repositories'],
      access: 'signed-in',
      apiScope: null,
      effect: 'changes',
      edits: 'ifMatchAllowed',
      patient: true,
      params,
      query: dryRunQuery,
      answers: { 200: planSchema },
      async handler({ caller, params: { name }, query, queryer, actor, request, checkIfMatch }) {
        const { repositoryId: id, namespaceId } = await authorizeRepository(lookup, caller, name, 'members');
        const repository = { id, name, namespaceId };
        if (query.dry_run) {
          const plan = await planRepositoryDeletion(queryer, repository);
          checkIfMatch(plan);
          return { status: 200, body: planBody(plan, true), version: plan };
        }
        refuseUnseen(request.conditional, name);
        const check = async (plan: DeletionPlan): Promise<void> => {
          await authorizeRepository(lookup, caller, name, 'members');
          checkIfMatch(plan);
        };
        const plan = await deleteRepository(queryer, repository, check, { actor, reviewDelayHours });
        return { status: 200, body: planBody(plan, false), version: plan };
      },
    }),
  ];
}

const planBody = (plan: DeletionPlan, dryRun: boolean): z.input<typeof planSchema> => ({
  ...plan,
  repositories: [...plan.repositories],
  dryRun,
});

/** @throws ApiError `preconditionRequired` when nobody has looked at what goes */
export function refuseUnseen(conditional: boolean, name: string): void {
  if (conditional) return;
  throw new ApiError('preconditionRequired', `nobody has looked at what goes with ${name}`, {
    next: 'Ask with dry_run=1 first, and send the ETag of its answer as If-Match.',
  });
}
