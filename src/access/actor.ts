/** The subject of a request, as the audit log names it. */
import type { Actor } from '../events/actor.ts';
import type { Subject } from './policy.ts';

/** Longer User-Agents are cut: what is beyond tells nobody anything. */
const clientLengthMax = 256;

/** Where a request came from. */
export interface RequestOrigin {
  readonly address: string | null;
  readonly client: string | null;
  readonly requestId: string | null;
}

export function actorOf(subject: Subject, origin: RequestOrigin): Actor {
  return {
    credentialId: subject.credentialId,
    userId: subject.user?.id ?? null,
    name: subject.user?.name ?? subject.credentialName ?? subject.kind,
    address: origin.address,
    client: origin.client?.slice(0, clientLengthMax) ?? null,
    requestId: origin.requestId,
  };
}

/** Whoever runs a command beside the registry: it needs no credential, it has the database. */
export function commandLine(command: string): Actor {
  return { credentialId: null, userId: null, name: command, address: null, client: null, requestId: null };
}
