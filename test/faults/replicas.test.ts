/**
 * What people do with docker, by the nginx.conf that Berth ships, to two processes that share one PostgreSQL and one S3, while
 * one of the four goes away. Docker itself tries layers again, after 5, 10, 15 and 20 seconds, and nothing else; nobody here does.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { buildImage, startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { callerOf, closing, slowRequest, until, type Caller } from '../support/faults.ts';
import type { Gate } from '../support/gate.ts';
import { makeImage } from '../support/images.ts';
import { answered, startReplicas, type Replica, type Replicas } from '../support/replicas.ts';
import { noS3Server } from '../support/s3-server.ts';
import { runOk, titled, whyNot } from '../support/tools.ts';

const reason = whyNot('nginx', 'docker', 'dockerd') ?? noS3Server;
const mib = 1024 * 1024;
/** Of a layer that goes to S3 in two parts, and of one whose first part goes while the rest is still coming. */
const twoParts = 9 * mib;
const longLayer = 14 * mib;
/** Docker's five attempts, on a machine that has other things to do. */
const pushMsMax = 150_000;

interface ImageManifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

/** Where pushes are when something happens to them. */
interface Moment {
  readonly gate: 'database' | 's3';
  /** What is sent then; the answers to it are held. */
  readonly text: string;
  readonly layerBytes: number;
  /** How many of the pushes have come to it. */
  held(gates: readonly Gate[], repositories: readonly string[]): number | Promise<number>;
}

interface Held {
  readonly repositories: readonly string[];
  readonly release: () => void;
}

const inEach: Moment['held'] = (gates) => gates.flatMap(({ held }) => held).length;

const whileSending: Moment = {
  gate: 's3',
  text: 'partNumber=',
  layerBytes: longLayer,
  // Several parts of one upload may be on their way.
  held: (gates) => new Set(gates.flatMap(({ held }) => held.map((sent) => /\/blobs\/[^?]+/.exec(sent)?.[0]))).size,
};

describe.skipIf(reason !== undefined)(
  titled('docker, nginx, and two replicas on one PostgreSQL and one S3', reason),
  { timeout: 300_000 },
  () => {
    let all: Replicas;
    let dockerd: Dockerd;
    let user: DockerUser;
    let call: Caller;
    /** What docker was told it has pushed, and nobody has looked at since: `repository@digest`. */
    let acknowledged: string[] = [];

    beforeAll(async () => {
      [all, dockerd] = await Promise.all([startReplicas({ BERTH_SHUTDOWN_DRAIN_SECONDS: '3' }), startDockerd()]);
      user = await dockerd.newUser();
      expect((await user.login(all.nginx.host, all.admin)).output).toContain('Login Succeeded');
      call = callerOf(all.nginx.url, all.admin);
    });
    afterAll(async () => {
      await dockerd?.stop();
      await all?.stop();
    });

    /** A new image of one layer, in the daemon. @returns its full name */
    async function importImage(repository: string, bytes: number): Promise<string> {
      const folder = path.join(dockerd.folder, repository.replaceAll('/', '-'));
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, 'bytes'), randomBytes(bytes));
      await runOk('tar', ['-c', '-C', folder, '-f', `${folder}.tar`, '.']);
      const image = `${all.nginx.host}/${repository}:1`;
      await user.do('import', `${folder}.tar`, image);
      return image;
    }

    async function push(image: string): Promise<void> {
      const said = await runOk('docker', ['push', image], { env: user.env, msMax: pushMsMax });
      const digest = /digest: (sha256:[0-9a-f]{64})/.exec(said)?.[1];
      acknowledged.push(`${image.slice(`${all.nginx.host}/`.length, -':1'.length)}@${digest}`);
    }

    /** Pushes new images, and does the work when the gates hold each of them where the moment says. */
    async function pushMeanwhile(what: string, moment: Moment, work: (held: Held) => Promise<void>): Promise<void> {
      const folder = what.toLowerCase().replaceAll(/\W+/g, '-');
      const repositories = ['ada', 'bob'].map((who) => `${who}/${folder}`);
      const images = await Promise.all(repositories.map((repository) => importImage(repository, moment.layerBytes)));
      const gates = all.each.map((replica) => replica[moment.gate]);
      for (const gate of gates) gate.hold(moment.text);
      const release = (): void => gates.forEach((gate) => gate.release());
      const pushed = Promise.all(images.map((image) => push(image)));
      const early = pushed.then(() => Promise.reject(new Error(`nothing was held ${what}`)));
      try {
        const areHeld = async (): Promise<boolean> => (await moment.held(gates, repositories)) === images.length;
        await Promise.race([early, until(areHeld)]);
        await work({ repositories, release });
      } finally {
        release();
      }
      await pushed;
    }

    async function expectNothingLost(): Promise<void> {
      for (const image of acknowledged) {
        const [repository, digest] = image.split('@') as [string, string];
        const { body } = await call('GET', `/v2/${repository}/manifests/${digest}`);
        expect(digestOf(body)).toBe(digest);
        const { config, layers } = JSON.parse(body.toString()) as ImageManifest;
        for (const blob of [config, ...layers]) {
          const pulled = await call('GET', `/v2/${repository}/blobs/${blob.digest}`);
          expect(digestOf(pulled.body)).toBe(blob.digest);
        }
      }
      acknowledged = [];
    }

    /** As if hours had passed: then the replicas sweep. */
    async function expectNothingLeft(): Promise<void> {
      const { facts } = all;
      await facts.query(`UPDATE uploads SET expires_at = '-infinity'`);
      await until(async () => {
        await facts.query(`UPDATE storage_deletions SET try_after = '-infinity'`);
        for (const task of ['sweep-expired-uploads', 'sweep-abandoned-uploads', 'delete-objects'])
          await facts.query('SELECT graphile_worker.add_job($1, job_key := $1)', [task]);
        const left = await facts.query('SELECT id::text FROM uploads UNION SELECT id::text FROM storage_deletions');
        return left.length === 0;
      });
      const blobs = await facts.query<{ storage_key: string }>('SELECT storage_key FROM blobs');
      expect(await all.stored()).toEqual(blobs.map((blob) => blob.storage_key).toSorted());
    }

    test('an image is pulled to build on, and what was built is pushed, pulled, and runs', async () => {
      const base = `${all.nginx.host}/acme/base:1`;
      await buildImage(dockerd, user, base, 'hello from two');
      await push(base);
      await user.do('image', 'rm', '--force', base);
      const context = path.join(dockerd.folder, 'app');
      await mkdir(context);
      await writeFile(path.join(context, 'bytes'), randomBytes(twoParts));
      await writeFile(path.join(context, 'Dockerfile'), `FROM ${base}\nCOPY bytes /bytes\n`);
      const app = `${all.nginx.host}/acme/app:1`;
      await user.do('build', '--tag', app, context);
      await push(app);
      await user.do('image', 'rm', '--force', app, base);
      await user.do('pull', app);
      expect(await user.do('run', '--rm', '--network', 'none', app)).toBe('hello from two');
      for (const replica of all.each) expect(answered(replica, '/v2/acme/')).toBeGreaterThan(0);
    });

    test('the requests of one upload go to both, and the address in its answers is that of nginx', async () => {
      const chunks = Array.from({ length: 4 }, () => randomBytes(300_000));
      const opened = await call('POST', '/v2/acme/turns/blobs/uploads/');
      const location = opened.headers.get('location')!;
      expect(location).toMatch(new RegExp(`^${all.nginx.url}/v2/acme/turns/blobs/uploads/`));
      const session = new URL(location).pathname;
      let at = 0;
      for (const chunk of chunks) {
        const range = { 'Content-Range': `${at}-${at + chunk.length - 1}` };
        expect((await call('PATCH', session, { body: chunk, headers: range })).status).toBe(202);
        at += chunk.length;
      }
      const whole = Buffer.concat(chunks);
      const digest = digestOf(whole);
      // Twice, as nginx asks when the first one to hear it dies.
      for (const _ of all.each) {
        const closed = await call('PUT', closing(session, digest));
        expect([closed.status, closed.headers.get('docker-content-digest')]).toEqual([201, digest]);
      }
      expect((await call('PUT', closing(session, digestOf('other bytes')))).status).toBe(404);
      for (const _ of all.each) {
        const pulled = await call('GET', `/v2/acme/turns/blobs/${digest}`);
        expect(pulled.body.equals(whole)).toBe(true);
      }
      await until(async () => answered(all.each[0], session) + answered(all.each[1], session) === 6);
      for (const replica of all.each) expect(answered(replica, session)).toBeGreaterThanOrEqual(1);
    });

    test('a restart of one after the other loses no docker command', async () => {
      let over = false;
      let commands = 0;
      const atWork = ['eve', 'fay'].map(async (who) => {
        for (let i = 0; !over; i += 1) {
          const image = await importImage(`${who}/restarts-${i}`, 3 * mib);
          await push(image);
          await user.do('image', 'rm', '--force', image);
          await user.do('pull', image);
          commands += 2;
        }
      });
      const restarts = (async () => {
        try {
          for (const replica of all.each) {
            expect(await replica.end('SIGTERM')).toBe(0);
            await replica.start();
          }
        } finally {
          over = true;
        }
      })();
      await Promise.all([restarts, ...atWork]);
      expect(commands).toBeGreaterThanOrEqual(4);
    });

    test('kill -9 of a replica, wherever its pushes are: docker ends well, nothing is lost, nothing is left', async () => {
      const moments: [string, Moment][] = [
        ['while a layer is sent', whileSending],
        ['while its parts become an object', { ...whileSending, layerBytes: twoParts, text: '?uploadId=' }],
        [
          'when the layer is stored, and nobody has heard of it',
          {
            gate: 'database',
            text: 'COMMIT',
            layerBytes: twoParts,
            held: (_gates, repositories) => linked(repositories),
          },
        ],
        [
          'while the manifest is stored',
          { gate: 'database', text: 'docker.distribution.manifest.v2+json', layerBytes: twoParts, held: inEach },
        ],
      ];
      for (const [what, moment] of moments) {
        await pushMeanwhile(what, moment, async ({ release }) => {
          const [victim] = all.each.toSorted((a, b) => b[moment.gate].held.length - a[moment.gate].held.length);
          await victim!.end('SIGKILL');
          release();
          await victim!.start();
        });
      }
      await expectNothingLost();
      await expectNothingLeft();
    });

    test('a manifest goes to the other replica when the one that has it dies, however large it is', async () => {
      const image = makeImage({ layers: [], fields: { annotations: { note: 'much to say '.repeat(1000) } } });
      const { bytes, digest } = image.config;
      await call('POST', `/v2/acme/noted/blobs/uploads/?digest=${digest}`, { body: bytes });
      for (const replica of all.each) replica.database.hold(image.mediaType);
      const sent = await slowRequest('PUT', new URL('/v2/acme/noted/manifests/1', all.nginx.url), all.admin, {
        'Content-Type': image.mediaType,
        'Content-Length': image.bytes.length,
      });
      sent.end(image.bytes);
      const has = ({ database }: Replica): boolean => database.held.length > 0;
      await until(async () => all.each.some(has));
      const victim = all.each.find(has)!;
      await victim.end('SIGKILL');
      for (const replica of all.each) replica.database.release();
      expect(await sent.outcome).toBe(201);
      await victim.start();
      expect((await call('GET', '/v2/acme/noted/manifests/1')).body.equals(image.bytes)).toBe(true);
    });

    test('kill -9 of both: pushes go on when one is back, and so does who begins meanwhile', async () => {
      const late = await importImage('cat/late', twoParts);
      await pushMeanwhile('both', whileSending, async ({ release }) => {
        for (const replica of all.each) await replica.end('SIGKILL');
        release();
        await Promise.all([push(late), backAgain()]);
      });
      await expectNothingLost();
      await expectNothingLeft();
    });

    /** Starts both; from then on everybody is served, whatever nginx still thinks of them. */
    async function backAgain(): Promise<void> {
      await Promise.all(all.each.map((replica) => replica.start()));
      const served = await Promise.all(Array.from({ length: 10 }, () => call('GET', '/v2/')));
      expect(served.map(({ status }) => status)).toEqual(served.map(() => 200));
    }

    test.each([
      ['PostgreSQL', 'database', { database: 'unavailable', storage: 'ok' }],
      ['S3', 's3', { database: 'ok', storage: 'unavailable' }],
    ] as const)('while %s is away pushes wait, and /readyz says what is missing', async (what, away, says) => {
      await pushMeanwhile(what, whileSending, async ({ repositories, release }) => {
        const gates = all.each.map((replica) => replica[away]);
        for (const gate of gates) gate.shut();
        release();
        await until(async () => repositories.every((repository) => unavailable(all.each, repository)));
        for (const { url } of all.each) {
          await until(async () => (await fetch(`${url}/readyz`)).status === 503);
          expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject(says);
          expect((await fetch(`${url}/healthz`)).status).toBe(200);
        }
        for (const gate of gates) gate.open();
        for (const { url } of all.each) await until(async () => (await fetch(`${url}/readyz`)).ok);
      });
      await expectNothingLost();
      await expectNothingLeft();
    });

    /** In how many of the repositories there is a blob. */
    async function linked(repositories: readonly string[]): Promise<number> {
      const rows = await all.facts.query(
        'SELECT DISTINCT repository_id FROM repository_blobs JOIN repositories ON id = repository_id WHERE name = ANY ($1)',
        [repositories],
      );
      return rows.length;
    }
  },
);

/** Whether a request to this repository was answered 503. */
function unavailable(replicas: readonly Replica[], repository: string): boolean {
  return replicas.some(({ berth }) =>
    berth.stderr.some((line) => line.includes(`/v2/${repository}/`) && line.includes('"status":503')),
  );
}
