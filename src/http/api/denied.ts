/** Changes that the API did not let happen, as the audit log says them. */
import { findPlace } from '../../access/sql/explain.ts';
import type { Queryer } from '../../database/pool.ts';
import type { AuditAction } from '../../events/audit.ts';
import type { DeniedRecorder } from '../../events/denied.ts';
import type { Denied } from './run.ts';

/**
 * What each operation would have been, had it been done. An operation that is missing here fails a test: nobody's attempt
 * goes unwritten because somebody forgot.
 */
export const auditActionOf: Readonly<Record<string, AuditAction>> = {
  createRepository: 'repository.create',
  changeRepository: 'repository.visibility',
  renameRepository: 'repository.rename',
  deleteRepository: 'repository.delete',
  deleteNamespace: 'namespace.delete',
  createOrganization: 'organization.create',
  changeNamespace: 'organization.change',
  setMember: 'member.change',
  removeMember: 'member.remove',
  createTeam: 'team.create',
  changeTeam: 'team.change',
  deleteTeam: 'team.delete',
  addTeamMember: 'team.member.add',
  removeTeamMember: 'team.member.remove',
  inviteToOrganization: 'invitation.create',
  inviteToRepository: 'invitation.create',
  revokeInvitation: 'invitation.revoke',
  revokeRepositoryInvitation: 'invitation.revoke',
  acceptInvitation: 'invitation.accept',
  acceptMailedInvitation: 'invitation.accept',
  declineInvitation: 'invitation.decline',
  setRepositoryUser: 'collaborator.change',
  removeRepositoryUser: 'collaborator.remove',
  setRepositoryTeam: 'collaborator.change',
  removeRepositoryTeam: 'collaborator.remove',
  signIn: 'session.create',
  signOut: 'session.revoke',
  endSession: 'session.revoke',
  signOutEverywhere: 'session.revoke_all',
  changeAccount: 'user.email',
  verifyOwnEmail: 'email.verify.request',
  changePassword: 'user.password',
  beginSecondFactor: 'user.totp.enable',
  confirmSecondFactor: 'user.totp.enable',
  removeSecondFactor: 'user.totp.disable',
  renewRecoveryCodes: 'user.recovery_codes',
  register: 'registration.request',
  confirmRegistration: 'registration.confirm',
  forgetPassword: 'password.reset.request',
  resetPassword: 'password.reset',
  verifyEmail: 'email.verify',
  createUser: 'user.create',
  changeUser: 'user.change',
  inviteUser: 'invitation.create',
  resetPasswordOfUser: 'password.reset.request',
  signOutUser: 'session.revoke_all',
  removeSecondFactorOfUser: 'user.totp.disable',
  createToken: 'token.create',
  rotateToken: 'token.rotate',
  revokeToken: 'token.revoke',
  revokeTokenOfUser: 'token.revoke',
  createRobotOfNamespace: 'robot.create',
  createRobotOfRepository: 'robot.create',
  rotateRobot: 'robot.rotate',
  revokeRobot: 'robot.revoke',
  rotateSigningKey: 'signing_key.rotate',
  revokeSigningKey: 'signing_key.revoke',
  holdStorage: 'storage.hold',
  releaseStorage: 'storage.release',
};

export interface DeniedParts {
  readonly database: Queryer;
  readonly denied: DeniedRecorder;
}

/** Never throws: a refusal stands, whether or not it can be written down. */
export function createOnDenied({ database, denied }: DeniedParts): (attempt: Denied) => Promise<void> {
  return async ({ actor, operation, params, error }) => {
    const names = (params ?? {}) as Readonly<Record<string, unknown>>;
    const namespaceId = await findNamespaceId(database, operation.path, names['name']).catch(() => undefined);
    denied.record(actor, {
      action: auditActionOf[operation.id] ?? 'api.change',
      namespaceId,
      target: Object.values(names).map(String).join(' ') || operation.id,
      reason: error instanceof Error ? error.message : undefined,
    });
  };
}

/** Whose owners may see the attempt: the owners of what it was aimed at. */
async function findNamespaceId(queryer: Queryer, path: string, name: unknown): Promise<number | undefined> {
  if (typeof name !== 'string') return undefined;
  let namespace: string | undefined;
  if (path.startsWith('/repositories/')) namespace = name.includes('/') ? name.slice(0, name.indexOf('/')) : '_';
  else if (path.startsWith('/namespaces/')) namespace = name;
  if (namespace === undefined) return undefined;
  return (await findPlace(queryer, name, namespace)).namespaceId ?? undefined;
}
