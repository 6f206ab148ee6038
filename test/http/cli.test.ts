/** The commands that ask a running Berth: through the real process, as somebody at a terminal meets them. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';

const main = path.resolve(import.meta.dirname, '../../src/main.ts');
let folder: string;
let server: TestBerth;
let admin: Api;
/** Every secret that a command printed or was given, to be looked for where none may be. */
const secrets = new Set<string>();

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'berth-cli-'));
  server = await startTestBerth();
  admin = await apiOf(server.url, server.admin);
  for (const name of ['ada', 'bob']) secrets.add((await server.addUser(name)).password);
  secrets.add(server.admin.password);
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Situation {
  readonly env?: Record<string, string>;
  readonly input?: string;
}

/** Runs the command in an empty folder with the settings of the server, the administrator's password among them. */
const berth = (args: readonly string[], situation?: Situation) => node([main, ...args], situation);

async function node(args: readonly string[], { env, input }: Situation = {}) {
  const settings = env ?? { BERTH_LISTEN: server.host, BERTH_ADMIN_PASSWORD: server.admin.password };
  const child = spawn(process.execPath, args, { cwd: folder, env: settings });
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  for (const [secret] of stdout.matchAll(/bth_\w{42}/g)) secrets.add(secret);
  return { stdout, stderr, code: code as number };
}

/** What main.ts does, for one command after the other: a process of Node takes longer to start than what it does here. */
const manyCommands = `
import { reportFailure } from ${JSON.stringify(pathToFileURL(path.resolve(main, '../cli/failure.ts')))};
import { createProgram } from ${JSON.stringify(pathToFileURL(path.resolve(main, '../cli/program.ts')))};
process.stdout.setMaxListeners(0);
for (const args of JSON.parse(process.argv[1])) {
  let failed = false;
  await createProgram().parseAsync(args, { from: 'user' }).catch((error) => {
    failed = true;
    reportFailure(error);
  });
  process.stdout.write((failed || process.exitCode ? 1 : 0) + '\\0');
  process.stderr.write('\\0');
  process.exitCode = 0;
}`;

/** Runs commands one after the other. */
async function berthAll(commands: readonly (readonly string[])[]) {
  const driver = ['--input-type=module', '-e', manyCommands, JSON.stringify(commands)];
  const { stdout, stderr } = await node(driver);
  const [outputs, errors] = [stdout.split('\0'), stderr.split('\0')];
  expect({ outputs: outputs.length, stderr }).toMatchObject({ outputs: commands.length + 1 });
  return commands.map((_, i) => ({
    stdout: outputs[i]!.slice(0, -1),
    stderr: errors[i]!,
    code: Number(outputs[i]!.at(-1)),
  }));
}

/** The output of commands that must succeed, in words. */
async function runAll<const L extends readonly string[]>(...commands: L): Promise<{ [I in keyof L]: string }> {
  const answers = await berthAll(commands.map((line) => line.split(' ')));
  expect(answers.map(({ code, stderr }, i) => [commands[i], code, stderr])).toEqual(
    commands.map((line) => [line, 0, '']),
  );
  return answers.map(({ stdout }) => stdout) as { [I in keyof L]: string };
}

/** The output of one command that must succeed: `run('team list acme')`. */
async function run(line: string, situation?: Situation): Promise<string> {
  const { stdout, stderr, code } = await berth(line.split(' '), situation);
  expect({ line, code, stderr }).toMatchObject({ line, code: 0, stderr: expect.not.stringContaining('berth:') });
  return stdout;
}

const lines = (output: string): string[] => output.trimEnd().split('\n');
const rows = (output: string): string[][] => lines(output).map((line) => line.split(/ {2,}/));

describe('berth api', () => {
  test('names every operation that the server has, to everybody', async () => {
    const document = (await admin.get('/openapi.json')).body as { paths: Record<string, Record<string, unknown>> };
    const declared = Object.entries(document.paths).flatMap(([address, of]) =>
      Object.keys(of).map((method) => `${method.toUpperCase()} ${address.replace('/api/v1', '')}`),
    );
    expect(declared.length).toBeGreaterThan(50);
    const env = { BERTH_LISTEN: server.host };
    const [listed, byFlag] = await Promise.all([run('api', { env }), run('api --list', { env })]);
    const [heading, ...named] = rows(listed);
    expect(heading).toEqual(['METHOD', 'PATH', 'SUMMARY']);
    expect(named.map(([method, address]) => `${method} ${address}`).toSorted()).toEqual(declared.toSorted());
    expect(byFlag).toBe(listed);
  });

  test('asks, changes, and shows what a condition takes', async () => {
    const made = await run('api post api/v1/namespaces {"name":"globex","description":"Hank"}');
    expect(JSON.parse(made)).toMatchObject({ name: 'globex', can: { delete: true } });
    expect(lines(made)).toHaveLength(1);

    const seen = await berth(['api', 'GET', '/namespaces/globex', '--include']);
    const [, etag] = /^ETag: (.*)$/m.exec(seen.stderr)!;
    const change = (ifMatch: string) =>
      berth(['api', 'PATCH', '/namespaces/globex', '-', '--if-match', ifMatch], { input: '{"description":"Scorpio"}' });
    const stale = await change('"other"');
    expect(stale).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('it was changed meanwhile') });
    expect(JSON.parse((await change(etag!)).stdout)).toMatchObject({ description: 'Scorpio' });
  });

  test('follows a listing to its end, and passes on what is no JSON', async () => {
    const [paged, csv] = await Promise.all([
      run('api GET /users?limit=1 --paginate'),
      run('api GET /audit/export?format=csv'),
    ]);
    expect(lines(paged).map((line) => (JSON.parse(line) as { name: string }).name)).toEqual(['ada', 'admin', 'bob']);
    expect(lines(csv)[0]).toMatch(/^at,id,actor,/);
  });

  test('asks as anybody: a password and a token come by the standard input or a file, or nobody asks', async () => {
    const password = 'password of ada';
    const whoami = 'api GET /session';
    const nobody: Situation = { env: { BERTH_LISTEN: server.host } };
    const ask = (flags: string, input?: string) =>
      run(`${whoami} ${flags}`, { ...nobody, ...(input !== undefined && { input }) }).then(JSON.parse);
    expect(await ask('--user ada --password-stdin', `${password}\n`)).toMatchObject({ user: { name: 'ada' } });
    expect(await ask('--anonymous')).toMatchObject({ user: null });

    // How somebody with a second factor gets what the other commands take.
    const body = JSON.stringify({ username: 'ada', password, cookie: false });
    const signedIn = await run('api POST /session - --anonymous', { ...nobody, input: body });
    const [token] = /bth_\w{42}/.exec(signedIn)!;
    const file = path.join(folder, 'token');
    await writeFile(file, `${token}\n`);
    for (const [flags, input] of [['--token-stdin', token], [`--token-file ${file}`]] as const)
      expect(await ask(flags, input)).toMatchObject({ user: { name: 'ada' }, credential: { kind: 'session' } });
  });
});

test('an organization with its members and teams, by command', async () => {
  const said = await runAll(
    'api POST /namespaces {"name":"acme","description":"Anvils"}',
    'organization list',
    'organization show acme',
    'member set acme ada developer',
    'member invite acme carol@example.com reader',
    'team create acme backend --role reader',
    'team add acme backend ada',
    'team members acme backend',
    'team role acme backend none',
    'team list acme',
    'team remove acme backend ada',
    'team add acme backend ada',
    'member remove acme ada',
    'team delete acme backend',
    'member list acme --json',
  );
  const [, organizations, shown, set, invited, created, added, members, role, teams, removed, , left, deleted, rest] =
    said;
  expect(rows(organizations)).toContainEqual(['acme', 'owner', expect.anything(), 'Anvils']);
  expect(shown).toMatch(/^acme: organization, since \S+\nAnvils\nYour role: owner\n$/);
  expect(set).toBe('ada is developer of acme.\n');
  expect(invited).toMatch(
    /^Invited carol@example\.com to acme, until \S+ \(invitation \d+\)\.\nToken of the invitation \(it is not shown again\): bth_\w{42}\n$/,
  );
  expect(created).toBe('Made the team backend of acme.\n');
  expect(added).toBe('ada is in the team backend of acme.\n');
  expect(members).toBe('USER\nada\n');
  expect(role).toBe('The team backend has no role in all of acme.\n');
  expect(rows(teams)[1]).toEqual(['backend', '-', expect.anything()]);
  expect(removed).toBe('ada is not in the team backend of acme any more.\n');
  expect(left).toBe('ada is no member of acme any more, nor of the team backend.\n');
  expect(deleted).toBe('Deleted the team backend of acme.\n');
  expect(lines(rest).map((line) => JSON.parse(line) as object)).toEqual([
    expect.objectContaining({ user: 'admin', role: 'owner' }),
  ]);
});

test('a repository and who works on it, by command', async () => {
  const said = await runAll(
    'api POST /namespaces {"name":"initech"}',
    'member set initech ada reader',
    'team create initech qa',
    'repository create initech/tps --visibility public',
    'repository visibility initech/tps internal',
    'repository grant initech/tps qa maintainer --team',
    'repository grant initech/tps ada developer',
    'repository members initech/tps',
    'access explain ada initech/tps push',
    'repository revoke initech/tps ada',
    'repository invite initech/tps bob reader',
    'access explain bob initech/tps push --json',
    'repository rename initech/tps initech/reports',
    'repository show initech/reports',
  );
  const [, , , made, seenBy, team, user, members, why, revoked, invited, whyNot, renamed, shown] = said;
  expect(made).toBe('Made the repository initech/tps; it is public.\n');
  expect(seenBy).toBe('initech/tps is internal.\n');
  expect(team).toBe('The team qa has the role maintainer on initech/tps.\n');
  expect(user).toBe('The user ada has the role developer on initech/tps.\n');
  expect(rows(members).slice(1)).toEqual([
    ['team', 'qa', 'maintainer', 'collaborator (maintainer)'],
    ['user', 'ada', 'developer', 'collaborator (developer), organization (reader)'],
    ['user', 'admin', 'owner', 'organization (owner)'],
  ]);
  expect(why).toMatch(/^ada may push to initech\/tps\.\nBecause:\n {2}\S.*\nRoles:\n {2}developer: /);
  expect(revoked).toBe('The user ada has no role of its own on initech/tps any more.\n');
  expect(invited).toMatch(/^Invited bob to initech\/tps, until \S+ /);
  expect(JSON.parse(whyNot)).toMatchObject({ allowed: false, user: 'bob' });
  expect(renamed).toMatch(/^initech\/tps is initech\/reports now/);
  expect(shown).toBe('initech/reports is internal.\nYou may: pull, push, delete, settings, members.\n');
});

test('what a deletion takes is shown first, and goes with --yes', async () => {
  const words = (...commands: string[]) => berthAll(commands.map((line) => line.split(' ')));
  const made = [
    'api POST /namespaces {"name":"umbrella"}',
    'repository create umbrella/a',
    'repository create umbrella/b',
  ];
  const [, , , plan] = await words(...made, 'repository delete umbrella/a');
  expect(plan).toEqual({
    code: 1,
    stdout: expect.stringMatching(/^This would delete the repository umbrella\/a:\n {2}umbrella\/a\n/),
    stderr: 'Nothing was deleted. To delete it, say the same with --yes.\n',
  });
  expect((await admin.get('/repositories/umbrella/a/-')).status).toBe(200);
  const [gone, all] = await words('repository delete umbrella/a --yes', 'organization delete umbrella');
  expect(gone).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Deleted the repository umbrella\/a:/) });
  expect((await admin.get('/repositories/umbrella/a/-')).status).toBe(404);
  expect(all).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(
      /^This would delete the organization umbrella:\n {2}umbrella\/b\n.* 1 members, 0 teams, /,
    ),
  });
  expect((await admin.get('/namespaces/umbrella')).status).toBe(200);
  expect(await run('organization delete umbrella --yes')).toMatch(/^Deleted the organization umbrella:/);
  expect((await admin.get('/namespaces/umbrella')).status).toBe(404);
});

test('robots are made, shown, rotated and revoked by command', async () => {
  const [, , made, small] = await runAll(
    'api POST /namespaces {"name":"hooli"}',
    'repository create hooli/nucleus',
    'robot create hooli ci --grant hooli/*=pull,push --grant hooli/x=delete --expires-days 5',
    'robot create hooli/nucleus deploy --actions pull',
  );
  const [, id, secret] =
    /^Made the robot hooli\+ci \((\d+)\)\. It expires at \S+\.\nSecret \(it is not shown again\): (bth_\w{42})\n$/.exec(
      made,
    )!;
  expect(small).toContain('Made the robot hooli/nucleus+deploy');
  const robot = await apiOf(server.url, { token: secret! });
  expect((await robot.get('/robots/current')).status).toBe(200);

  const [, next] = /^Rotated the robot hooli\+ci \((\d+)\)/.exec(await run(`robot rotate ${id} --overlap-seconds 60`))!;
  expect((await robot.get('/robots/current')).status).toBe(200);
  const [revoked, live, all] = await runAll(`robot revoke ${next}`, 'robot list hooli', 'robot list hooli --ended');
  expect(revoked).toBe(`The robot ${next} is revoked.\n`);
  expect((await robot.get('/robots/current')).status).toBe(401);
  expect(rows(live).map(([, name]) => name)).toEqual(['ROBOT', 'hooli/nucleus+deploy']);
  expect(rows(all).find(([of]) => of === id)).toEqual(
    expect.arrayContaining(['hooli+ci', 'revoked', 'hooli/*=pull,push hooli/x=delete']),
  );
  expect(live + all).not.toContain('bth_');
});

test('the audit log and sessions, by command', async () => {
  await (await apiOf(server.url)).post('/session', { username: 'bob', password: 'password of bob', cookie: false });
  const asBob: Situation = { env: { BERTH_LISTEN: server.host }, input: 'password of bob' };
  expect(rows(await run('session list --user bob --password-stdin', asBob))).toHaveLength(2);
  expect(await run('session revoke-all bob')).toBe('bob is signed out everywhere.\n');
  const none = await berth(['session', 'list', '--user', 'bob', '--password-stdin'], asBob);
  expect(none).toEqual({ code: 0, stdout: '', stderr: 'There are none.\n' });
  expect(await run('session revoke-all --user bob --password-stdin', asBob)).toBe('You are signed out everywhere.\n');

  const file = path.join(folder, 'audit.ndjson');
  const search = 'audit search --action session.revoke_all --since 2020-01-01 --rows 1';
  const lastWords = [search, `audit export --who admin --output ${file}`, `audit export --output ${file}`];
  const [found, written, again] = await berthAll(lastWords.map((line) => line.split(' ')));
  expect(found!.stderr).toBe('There are more: --rows shows them, and berth audit export all.\n');
  expect(rows(found!.stdout)[1]!.slice(1, 5)).toEqual(['bob', 'session.revoke_all', 'done', 'bob']);
  expect(written).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(again).toEqual({ code: 1, stdout: '', stderr: `berth: ${file} is there already\n` });
  const exported = lines(await readFile(file, 'utf8')).map((line) => JSON.parse(line) as { actor: string });
  expect(new Set(exported.map(({ actor }) => actor))).toEqual(new Set(['admin']));
});

describe('what goes wrong is a sentence, and exit code 1', () => {
  const closed = 'http://127.0.0.1:9';

  test('whatever it is', async () => {
    const failures: readonly (readonly [args: readonly string[], message: RegExp])[] = [
      [
        ['api', 'GET', '/session', '--server', closed],
        /^berth: say who you are at http:\/\/127\.0\.0\.1:9: --user NAME/,
      ],
      [
        ['api', 'GET', '/session', '--server', 'http://ada:hunter2@127.0.0.1'],
        /^berth: --server takes an http:\/\/ or https:\/\/ URL without a path, query or password$/,
      ],
      [['api', 'BREW', '/coffee'], /^berth: BREW is no method/],
      [['api', 'GET'], /^berth: say what to GET/],
      [['api', 'GET', '/session', '--paginate'], /^berth: \/session is no listing$/],
      [['api', 'POST', '/users', '{'], /^berth: the body is no JSON/],
      [
        ['api', 'PUT', '/account/password', '{"password":"hunter2-hunter2","newPassword":"x"}'],
        /^berth: a password in an argument stands in the process list/,
      ],
      [['member', 'list', 'nowhere'], /^berth: it does not exist, or you may not see it: there is no /],
      [['member', 'set', 'acme', '..', 'owner'], /^berth: "\.\." is no name$/],
      [['repository', 'create', 'UPPER/case'], /^berth: .*\n {2}\S/],
      [['session', 'list', '--user', 'ada'], /^berth: --user and --password-stdin go together/],
      [['session', 'list', '--token-file', 'absent'], /^berth: absent does not exist$/],
      [['robot', 'create', 'acme/app', 'ci', '--grant', 'x=pull'], /^berth: a robot of one repository takes --actions/],
      [['robot', 'create', 'acme', 'ci', '--actions', 'pull'], /^berth: a robot of a namespace takes --grant/],
    ];
    const answers = await berthAll(failures.map(([args]) => args));
    for (const [i, { stdout, stderr, code }] of answers.entries()) {
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr.trimEnd()).toMatch(failures[i]![1]);
      expect(stderr).not.toMatch(/hunter2|\n {4}at /);
    }
  });

  test.each([
    [
      ['api', 'GET', '/session', '--server', closed, '--anonymous'],
      /^berth: no Berth answers at http:\/\/127\.0\.0\.1:9; start it with npm start, or name another one with --server\n$/,
    ],
    [
      ['session', 'list', '--token-stdin', '--anonymous'],
      /^error: option '--token-stdin' cannot be used with option '--anonymous'/,
    ],
    [['session', 'list', '--token-stdin'], /^berth: that is no token of Berth/],
  ])('berth %j', async (args, message) => {
    const answer = await berth(args, { input: `bth_${'0'.repeat(42)}` });
    expect(answer).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) });
  });

  test('a problem comes with every field, and what to do next', async () => {
    const { stderr, code } = await berth(['api', 'POST', '/namespaces', '{"name":"A B","colour":1}']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^berth: the request is not valid: /);
    expect(stderr).toMatch(/^ {2}body\.name /m);
    expect(stderr).toMatch(/^ {2}body .*colour/m);
    expect(stderr).toMatch(/^ {2}Correct the fields named in errors/m);
  });
});

describe('the default login', () => {
  test('is the password that was generated, where it can be read', async () => {
    const dataDir = await mkdtemp(path.join(folder, 'data-'));
    const env = { BERTH_LISTEN: server.host, BERTH_DATA_DIR: dataDir };
    const unknown = await berth(['session', 'list'], { env });
    expect(unknown).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^berth: the password of admin is not known here \(.*admin-password: ENOENT\); say who you are: --user/,
      ),
    });
    await writeFile(path.join(dataDir, 'admin-password'), `${server.admin.password}\n`);
    expect(JSON.parse(await run('api GET /session', { env }))).toMatchObject({ user: { name: 'admin', admin: true } });
  });

  test('goes to no server but that of the settings', async () => {
    const shown: (string | undefined)[] = [];
    const foreign = createServer((req, res) => {
      shown.push(req.headers.authorization);
      res.end('{"items":[]}');
    }).listen(0, '127.0.0.1');
    await once(foreign, 'listening');
    const url = `http://127.0.0.1:${(foreign.address() as { port: number }).port}`;
    const refused = await berth(['organization', 'list', '--server', url]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('say who you are') });
    await berth(['organization', 'list', '--server', url, '--anonymous']);
    foreign.close();
    expect(shown).toEqual([undefined]);
  });

  test('trusts the certificate of the settings by itself, and no other one of that name', async () => {
    const makeCertificate = async (name: string) => {
      const [cert, key] = [path.join(folder, `${name}.pem`), path.join(folder, `${name}.key`)];
      const args =
        'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry.example.com';
      await promisify(execFile)('openssl', [...args.split(' '), '-keyout', key, '-out', cert]);
      return { BERTH_TLS_CERT: cert, BERTH_TLS_KEY: key };
    };
    const [own, other] = await Promise.all([makeCertificate('own'), makeCertificate('other')]);
    const secure = await startTestBerth(own);
    try {
      const settings = { BERTH_LISTEN: secure.host, BERTH_ADMIN_PASSWORD: secure.admin.password };
      const who = await run('api GET /session', { env: { ...settings, ...own } });
      expect(JSON.parse(who)).toMatchObject({ user: { name: 'admin' } });
      const distrusted = await berth(['api', 'GET', '/session'], { env: { ...settings, ...other } });
      expect(distrusted).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(/^berth: the connection to https:.* failed: /),
      });
    } finally {
      await secure.stop();
    }
  });
});

describe('secrets', () => {
  const leaves = (command: Command): Command[] =>
    command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
  const pathOf = (command: Command): string =>
    command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
  const all = leaves(createProgram());

  test('are no argument of any command', () => {
    const taking = all.flatMap((command) => [
      ...command.registeredArguments.map((argument) => argument.name()),
      ...command.options.filter((option) => option.required || option.optional).map((option) => option.long!),
    ]);
    expect(taking).toContain('--token-file');
    expect(taking.filter((name) => /pass|secret|token|code/i.test(name)).toSorted()).toEqual(
      taking.filter((name) => ['--token-file', '--token-id'].includes(name)).toSorted(),
    );
  });

  test('every command that asks a server says so in its help, with an example of itself', () => {
    const asking = all.filter((command) => command.options.some(({ long }) => long === '--server'));
    expect(asking.length).toBeGreaterThan(30);
    for (const command of asking) {
      let help = '';
      command.configureOutput({ writeOut: (piece) => void (help += piece) }).outputHelp();
      expect(help).toContain('Secrets come from the standard input or a file');
      expect(help).toMatch(new RegExp(`Examples?:\\n {2}${pathOf(command)}`));
    }
  });

  // Last: it looks at what all others left behind.
  test('are in no line of the log', () => {
    expect(secrets.size).toBeGreaterThan(6);
    const log = server.logs.map((line) => JSON.stringify(line)).join('\n');
    expect(log).toContain('createRobotOfNamespace');
    for (const secret of secrets) expect(log).not.toContain(secret);
  });
});
