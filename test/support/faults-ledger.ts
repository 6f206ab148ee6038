/**
 * What a registry has promised: pushers write down every answer, and the check after a crash reads it back. The pushers
 * stop when the server is gone; whatever it did not answer may or may not have happened.
 */
import { randomBytes } from 'node:crypto';
import { digestOf, type Digest } from '../../src/oci/digest.ts';
import { closing, type Answer, type Caller, type Chance } from './faults.ts';
import { content, makeImage, type Content, type TestImage } from './images.ts';

/** An upload session, whose bytes the pusher knows. */
interface Session {
  readonly location: string;
  readonly name: string;
  readonly blob: Content;
  /** Bytes answered with 202. */
  acknowledged: number;
  /** Bytes that were sent at most. */
  sent: number;
  /** Whether the PUT that ends it was sent: then it may be gone, and the blob there. */
  closing: boolean;
}

/** One push of a tag. Times are turns of a counter. */
interface TagPush {
  readonly digest: Digest;
  readonly began: number;
  /** Infinity while it may still happen. */
  ended: number;
  acknowledged: boolean;
}

export class Ledger {
  /** `name@digest` of blobs and manifests that were answered 201; those that were read back since are in `read`. */
  readonly blobs = new Set<string>();
  readonly manifests = new Map<string, TestImage>();
  readonly read = new Set<string>();
  readonly sessions = new Set<Session>();
  /** What should not have been answered. */
  readonly surprises: string[] = [];
  readonly #tags = new Map<string, TagPush[]>();
  #turn = 0;

  /** Notes that a tag is being pushed; to be told of the answer. */
  tagging(tag: string, digest: Digest): TagPush {
    const push = { digest, began: (this.#turn += 1), ended: Number.POSITIVE_INFINITY, acknowledged: false };
    this.#tags.set(tag, [...(this.#tags.get(tag) ?? []), push]);
    return push;
  }

  tagged(push: TagPush): void {
    push.acknowledged = true;
    push.ended = this.#turn += 1;
  }

  /** The server is gone: what was not answered cannot happen any more. */
  gone(): void {
    this.#turn += 1;
    for (const push of [...this.#tags.values()].flat()) push.ended = Math.min(push.ended, this.#turn);
  }

  /** For each tag the digests that it may show: none that was replaced for certain. Null stands for its absence. */
  *tags(): Generator<{ tag: string; may: ReadonlySet<Digest | null> }> {
    for (const [tag, pushes] of this.#tags) {
      const acknowledged = pushes.filter((push) => push.acknowledged);
      const live = pushes.filter((push) => !acknowledged.some((other) => other.began > push.ended));
      this.#tags.set(tag, live);
      yield { tag, may: new Set([...live.map((push) => push.digest), ...(acknowledged.length === 0 ? [null] : [])]) };
    }
  }

  expect(answer: Answer, status: number, what: string): boolean {
    if (answer.status !== status) this.surprises.push(`${what}: ${answer.status} ${answer.body.toString()}`);
    return answer.status === status;
  }
}

const repositories = ['crash/a', 'crash/b'];
/** Pushed again and again, so that one digest is committed at the same time by several. */
const shared = Array.from({ length: 3 }, () => content(randomBytes(20_000)));

/** Pushes until the server is gone: blobs in every way, images, tags of its own and one that all share, sessions left by earlier crashes. */
export async function pushUntilGone(
  call: Caller,
  ledger: Ledger,
  chance: Chance,
  isGone: () => boolean,
): Promise<void> {
  const own = `own-${chance.below(1e9)}`;
  try {
    for (;;) {
      const left = [...ledger.sessions].find((session) => !busy.has(session));
      if (left !== undefined && chance.below(3) === 0) await resume(call, ledger, left);
      else if (chance.below(4) === 0)
        await pushBlob(call, ledger, chance.pick(repositories), chance.pick(shared), chance);
      else await pushImage(call, ledger, chance, [own, 'latest']);
    }
  } catch (error) {
    if (!isGone()) throw error;
  }
}

async function pushImage(call: Caller, ledger: Ledger, chance: Chance, tags: readonly string[]): Promise<void> {
  const name = chance.pick(repositories);
  const layers = [content(randomBytes(1 + chance.below(200_000))), chance.pick(shared)];
  const image = makeImage({ layers });
  for (const blob of [image.config, ...layers]) await pushBlob(call, ledger, name, blob, chance);
  const pushes = tags.map((tag) => ledger.tagging(`${name}:${tag}`, image.digest));
  const query = tags.map((tag) => `tag=${tag}`).join('&');
  const answer = await call('PUT', `/v2/${name}/manifests/${image.digest}?${query}`, {
    body: image.bytes,
    headers: { 'Content-Type': image.mediaType },
  });
  if (!ledger.expect(answer, 201, 'a manifest')) return;
  for (const push of pushes) ledger.tagged(push);
  ledger.manifests.set(`${name}@${image.digest}`, image);
}

async function pushBlob(call: Caller, ledger: Ledger, name: string, blob: Content, chance: Chance): Promise<void> {
  if (chance.below(4) === 0) {
    const answer = await call('POST', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes });
    if (ledger.expect(answer, 201, 'a blob in one request')) ledger.blobs.add(`${name}@${blob.digest}`);
    return;
  }
  const opened = await call('POST', `/v2/${name}/blobs/uploads/`);
  if (!ledger.expect(opened, 202, 'a session')) return;
  const location = new URL(opened.headers.get('location')!, 'http://any').pathname;
  const session = { location, name, blob, acknowledged: 0, sent: 0, closing: false };
  ledger.sessions.add(session);
  const chunks = chance.below(4);
  // Sometimes the PUT brings the last chunk, sometimes everything came before it.
  const inChunks = chance.below(2) === 0 ? blob.bytes.length : Math.floor(blob.bytes.length / 2);
  await working(session, async () => {
    for (let i = 0; i < chunks; i += 1) {
      const end = i === chunks - 1 ? inChunks : session.sent + chance.below(inChunks - session.sent + 1);
      if (end > session.sent && !(await append(call, ledger, session, end))) return;
    }
    await close(call, ledger, session);
  });
}

const busy = new Set<Session>();

/** One pusher at a time: two would take the session from each other. */
async function working(session: Session, work: () => Promise<void>): Promise<void> {
  busy.add(session);
  try {
    await work();
  } finally {
    busy.delete(session);
  }
}

async function append(call: Caller, ledger: Ledger, session: Session, end: number): Promise<boolean> {
  const start = session.acknowledged;
  session.sent = end;
  const answer = await call('PATCH', session.location, {
    body: session.blob.bytes.subarray(start, end),
    headers: { 'Content-Range': `${start}-${end - 1}` },
  });
  if (!ledger.expect(answer, 202, `bytes ${start}-${end - 1} of a session`)) return false;
  session.acknowledged = end;
  return true;
}

/** Sends what is missing, and the digest. */
async function close(call: Caller, ledger: Ledger, session: Session): Promise<void> {
  const { name, blob, acknowledged: start } = session;
  const rest = blob.bytes.subarray(start);
  session.closing = true;
  session.sent = blob.bytes.length;
  const range = { 'Content-Range': `${start}-${blob.bytes.length - 1}` };
  const answer = await call('PUT', closing(session.location, blob.digest), {
    ...(rest.length > 0 && { body: rest, headers: range }),
  });
  if (!ledger.expect(answer, 201, `the end of a session at ${start} of ${blob.bytes.length}`)) return;
  ledger.sessions.delete(session);
  ledger.blobs.add(`${name}@${blob.digest}`);
}

/** Asks where a session stands, as a client does that lost its connection, and goes on from there. */
export function resume(call: Caller, ledger: Ledger, session: Session): Promise<void> {
  return working(session, async () => {
    const { name, blob } = session;
    const answer = await call('GET', session.location);
    // Nothing of it was acknowledged but the place to write, whose commit need not have reached the disk.
    if (answer.status === 404 && session.acknowledged === 0) return void ledger.sessions.delete(session);
    if (answer.status === 404 && session.closing) {
      const found = await call('HEAD', `/v2/${name}/blobs/${blob.digest}`);
      if (ledger.expect(found, 200, `the blob of a session of ${session.acknowledged} bytes that is gone`))
        ledger.blobs.add(`${name}@${blob.digest}`);
      ledger.sessions.delete(session);
      return;
    }
    if (!ledger.expect(answer, 204, `a session of ${session.acknowledged} bytes`))
      return void ledger.sessions.delete(session);
    const offset = offsetOf(answer, session);
    if (offset < session.acknowledged || offset > session.sent)
      ledger.surprises.push(
        `a session stands at ${offset}: ${session.acknowledged} acknowledged, ${session.sent} sent`,
      );
    session.acknowledged = offset;
    await close(call, ledger, session);
  });
}

/** `0-0` says both that there is nothing and that there is one byte. */
function offsetOf(answer: Answer, session: Session): number {
  const last = Number(answer.headers.get('range')!.slice('0-'.length));
  return last === 0 ? session.acknowledged : last + 1;
}

/** Reads back what was promised, `all` of it or what was not read before; tags always. Returns what is wrong. */
export async function readBack(call: Caller, ledger: Ledger, { all }: { all: boolean }): Promise<string[]> {
  const wrong: string[] = [];
  if (all) ledger.read.clear();
  for (const promised of [...ledger.blobs].filter((each) => !ledger.read.has(each))) {
    const [name, digest] = promised.split('@') as [string, Digest];
    const answer = await call('GET', `/v2/${name}/blobs/${digest}`);
    if (answer.status !== 200 || digestOf(answer.body) !== digest) wrong.push(`blob ${promised}: ${answer.status}`);
    ledger.read.add(promised);
  }
  for (const [promised, image] of [...ledger.manifests].filter(([each]) => !ledger.read.has(each))) {
    const [name, digest] = promised.split('@') as [string, Digest];
    const answer = await call('GET', `/v2/${name}/manifests/${digest}`);
    if (answer.status !== 200 || !answer.body.equals(image.bytes)) wrong.push(`manifest ${promised}: ${answer.status}`);
    ledger.read.add(promised);
  }
  for (const { tag, may } of ledger.tags()) {
    const [name, reference] = tag.split(':') as [string, string];
    const answer = await call('GET', `/v2/${name}/manifests/${reference}`);
    const digest = answer.status === 404 ? null : (answer.headers.get('docker-content-digest') as Digest);
    if (!may.has(digest)) wrong.push(`the tag ${tag} shows ${digest}, not ${[...may].join(' or ')}`);
  }
  return wrong;
}
