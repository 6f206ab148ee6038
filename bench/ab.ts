// npm run bench:ab [-- BASE [COMMIT]] [--min 0.9] [--rounds 6] [--seconds 3] [--set NAME=VALUE ...]
//
// Manifests by tag, with tokens and all checks: this working tree (or COMMIT) beside BASE, in turns in one run.
// Ends with 1 when a ratio is below --min. --set gives the first of them a setting that BASE may not know.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { secretPattern } from '../src/access/secrets.ts';
import type { Login } from '../test/support/berth.ts';
import { basicOf, startServer, stopServer, tokenHeaders } from './berth.ts';
import type { Server } from './client.ts';
import { smallImage } from './content.ts';
import { pushTags, tagLoad } from './load.ts';
import { describeMachine, settleDisk } from './machine.ts';
import { running } from './programs.ts';
import { runBenchmark, type Run } from './run.ts';
import { median, number, spread, table } from './table.ts';
import { checkOut, thisTree, type Tree } from './worktree.ts';

/** The last commit before accounts and access. */
const baseDefault = 'a9733fb';
const tagCounts = [1, 400];
const connectionCounts = [32, 128];
/** Not the administrator's: what an ordinary account may do has to be looked up. */
const login: Login = { username: 'bench', password: 'a password to measure with' };
const repositoryOf = (tags: number): string => `${login.username}/tags${tags}`;

const { values: options, positionals } = parseArgs({
  options: {
    min: { type: 'string', default: '0.9' },
    rounds: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '3' },
    set: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
});
const [base = baseDefault, commit] = positionals;
const min = Number(options.min);
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
if (!(min > 0)) throw new Error(`--min ${options.min}: expected a ratio such as 0.9`);
for (const name of ['rounds', 'seconds'] as const)
  if (!/^[1-9]\d*$/.test(options[name]))
    throw new Error(`--${name} ${options[name]}: expected a whole number from 1 on`);

/** One of the two, and the ways to sign in to it. */
interface Side {
  readonly name: string;
  readonly password: Server;
  /** By a personal access token, where the commit has them. */
  readonly token: Server | undefined;
}

interface Comparison {
  readonly title: string;
  readonly tags: number;
  readonly connections: number;
  readonly pair: readonly [Server, Server];
}

await runBenchmark(async (run) => {
  for (const [name, value] of await describeMachine(run.folder)) console.log(`- ${name}: ${value}`);
  const trees = [commit === undefined ? await thisTree() : await checkOut(run, commit), await checkOut(run, base)];
  const settings = Object.fromEntries(options.set.map((text) => text.split(/=(.*)/s).slice(0, 2)));
  const a = await startSide(run, 'A', trees[0]!, settings);
  const b = await startSide(run, 'B', trees[1]!, {});
  for (const tags of tagCounts) {
    const image = smallImage();
    for (const { password } of [a, b]) await pushTags(password, repositoryOf(tags), image, tags);
  }
  await settleDisk(run.folder);

  const lines = [['manifest GET by tag', `A: ${a.name}, /s`, `B: ${b.name}, /s`, 'A/B', 'pair by pair', `>= ${min}`]];
  let met = true;
  for (const comparison of comparisonsOf(a, b)) {
    const { cells, ratio } = await compare(comparison, run.folder);
    console.error(cells.join('  '));
    met &&= ratio >= min;
    lines.push([...cells, ratio >= min ? 'met' : 'not met']);
  }
  console.log(`\n${table(lines)}`);
  return met;
});

async function startSide(run: Run, side: string, { root, name }: Tree, settings: Record<string, string>) {
  const dataDir = path.join(run.folder, side);
  const berth = await run.keep(() => startServer({ folder: run.folder, dataDir, root, settings }), stopServer);
  await addUser(root, { BERTH_DATA_DIR: dataDir, BERTH_LOG_LEVEL: 'warn', TMPDIR: run.folder, ...settings });
  // Tokens of their own for each load, so that none expires in the midst of one.
  const serverFor = (who: Login): Server => ({
    name: `${side} (${name})`,
    url: berth.url,
    host: berth.host,
    headers: (repository) => tokenHeaders(berth.url, who, repository),
  });
  const token = await personalToken(berth.url);
  if (token === undefined) console.error(`${side} (${name}) has no personal access tokens`);
  return { name, password: serverFor(login), token: token && serverFor(token) } satisfies Side;
}

async function addUser(root: string, settings: Record<string, string>): Promise<void> {
  const args = [path.join(root, 'src/main.ts'), 'user', 'add', login.username, '--password-stdin'];
  const child = execFile(process.execPath, args, { env: { PATH: process.env['PATH'], ...settings } });
  running(child);
  const said: string[] = [];
  child.stderr?.on('data', (text: string) => said.push(text));
  child.stdin?.end(login.password);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`berth user add ended with ${code}: ${said.join('')}`);
}

/** @returns the token as a login; undefined from a commit that knows none yet. @throws Error when it is refused */
async function personalToken(url: string): Promise<Login | undefined> {
  const answer = await fetch(`${url}/api/v1/tokens`, {
    method: 'POST',
    headers: { Authorization: basicOf(login), 'Content-Type': 'application/json' },
    body: JSON.stringify({
      name: 'bench',
      grants: [{ repositories: `${login.username}/*`, actions: ['pull', 'push'] }],
    }),
  });
  const text = await answer.text();
  if (answer.status === 404) return undefined;
  const [secret] = secretPattern.exec(text) ?? [];
  if (answer.status !== 201 || secret === undefined)
    throw new Error(`POST ${url}/api/v1/tokens was answered ${answer.status}: ${text}`);
  return { username: login.username, password: secret };
}

/** A personal token is compared with the other's where it has them, else with its password. */
function comparisonsOf(a: Side, b: Side): Comparison[] {
  const ways: [string, readonly [Server, Server]][] = [['password', [a.password, b.password]]];
  if (a.token !== undefined) ways.push(['personal token', [a.token, b.token ?? b.password]]);
  return ways.flatMap(([way, pair]) =>
    tagCounts.flatMap((tags) =>
      connectionCounts.map((connections) => ({
        title: `${way}, ${tags} tag${tags === 1 ? '' : 's'}, ${connections} connections`,
        tags,
        connections,
        pair,
      })),
    ),
  );
}

/** A B, B A, A B, ...: what drifts on the machine meets both alike. */
async function compare({ title, tags, connections, pair }: Comparison, folder: string) {
  const load = (server: Server): Promise<number> =>
    tagLoad(server, { repository: repositoryOf(tags), tags }, { connections, seconds, folder });
  const [a, b] = pair;
  // Not measured: what runs for the first time is compiled and cached.
  await load(a);
  await load(b);
  const figures: { a: number; b: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    if (round % 2 === 0) figures.push({ a: await load(a), b: await load(b) });
    else figures.push({ b: await load(b), a: await load(a) });
  }
  const medians = { a: median(figures.map((pair) => pair.a)), b: median(figures.map((pair) => pair.b)) };
  const ratio = medians.a / medians.b;
  const ratios = figures.map((pair) => pair.a / pair.b);
  return { cells: [title, number(medians.a), number(medians.b), ratio.toFixed(3), spread(ratios)], ratio };
}
