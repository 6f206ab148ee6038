/** What clients do with two Berths behind nginx: see alternating.ts. */
import { expect } from 'vitest';
import { addAccount } from '../../src/access/accounts.ts';
import { commandLine } from '../../src/access/actor.ts';
import type { Asked, Pair } from './alternating.ts';
import type { Login } from './berth.ts';
import { closing, type Answer } from './faults.ts';
import { makeImage } from './images.ts';

export interface PairClient {
  /** An address that nobody else asks from. */
  newAddress(): string;
  addUser(username: string): Promise<Login>;
  expectAnswer(status: number, target: string, asked?: Asked): Promise<Answer>;
  /** @returns the path of an upload session */
  openSession(name: string, who?: Login, from?: string): Promise<string>;
  /** Config and layers of an image, always the same one. */
  pushBlobs(name: string, who: Login, from?: string): Promise<void>;
  pushManifest(name: string, tag: string, who: Login, from?: string): Promise<Answer>;
  /** All of it, as `v1`. */
  pushImage(name: string, who: Login): Promise<void>;
  /** A token to pull. */
  tokenFor(who: Asked['who'], name: string, from?: string): Promise<string>;
}

export function clientOfPair(pair: Pair): PairClient {
  const image = makeImage();
  let addresses = 0;
  const newAddress = (): string => `127.1.${Math.floor((addresses += 1) / 200)}.${(addresses % 200) + 1}`;

  async function addUser(username: string): Promise<Login> {
    const login = { username, password: `password of ${username}` };
    await addAccount(pair.database, { ...login, admin: false }, commandLine('test'));
    return login;
  }

  async function expectAnswer(status: number, target: string, asked?: Asked): Promise<Answer> {
    const answer = await pair.ask(target, asked);
    expect({ target, status: answer.status }, answer.body.toString()).toEqual({ target, status });
    return answer;
  }

  async function openSession(name: string, who: Login = pair.admin, from = '127.0.0.1'): Promise<string> {
    const opened = await expectAnswer(202, `/v2/${name}/blobs/uploads/`, { method: 'POST', who, from });
    return new URL(opened.headers.get('location')!).pathname;
  }

  async function pushBlobs(name: string, who: Login, from?: string): Promise<void> {
    for (const { bytes, digest } of [image.config, ...image.layers]) {
      const session = await openSession(name, who, from);
      await expectAnswer(201, closing(session, digest), { method: 'PUT', body: bytes, who, ...(from && { from }) });
    }
  }

  const pushManifest = (name: string, tag: string, who: Login, from = '127.0.0.1'): Promise<Answer> =>
    pair.ask(`/v2/${name}/manifests/${tag}`, {
      method: 'PUT',
      body: image.bytes,
      headers: { 'content-type': image.mediaType },
      who,
      from,
    });

  async function pushImage(name: string, who: Login): Promise<void> {
    await pushBlobs(name, who);
    expect((await pushManifest(name, 'v1', who)).status).toBe(201);
  }

  const tokenFor = async (who: Asked['who'], name: string, from?: string): Promise<string> => {
    const asked = { ...(who !== undefined && { who }), ...(from && { from }) };
    const answer = await expectAnswer(200, `/auth/token?service=berth&scope=repository:${name}:pull`, asked);
    return (JSON.parse(answer.body.toString()) as { token: string }).token;
  };

  return { newAddress, addUser, expectAnswer, openSession, pushBlobs, pushManifest, pushImage, tokenFor };
}
