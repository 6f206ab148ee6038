/** crane, of google/go-containerregistry. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../../support/berth.ts';
import { mounted, requestsDuring, run, temporaryFolder, uploaded, type Ran } from '../../support/tools.ts';
import { writeLayout, type Layout } from '../../support/tools-layout.ts';
import { buildMsMax, goProgram } from './go-program.ts';

describe('crane', () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let program: string;
  let made: Layout;

  beforeAll(async () => {
    program = await goProgram('github.com/google/go-containerregistry/cmd/crane@v0.22.1');
    work = await temporaryFolder('crane');
    berth = await startTestBerth();
    made = await writeLayout(path.join(work.folder, 'layout'), 'hello', ['amd64', 'arm64']);
    const { username, password } = await berth.addUser('alice');
    await succeed('auth', 'login', berth.host, '--username', username, '--password', password);
  }, buildMsMax);
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  const crane = (...args: string[]): Promise<Ran> =>
    run(program, [...args, '--insecure'], { cwd: work.folder, env: { HOME: work.folder, DOCKER_CONFIG: work.folder } });

  async function succeed(...args: string[]): Promise<string> {
    const ran = await crane(...args);
    expect(ran.code, `crane ${args.join(' ')}:\n${ran.output}`).toBe(0);
    return ran.stdout.trim();
  }

  const named = (name: string): string => `${berth.host}/alice/${name}`;

  /** crane pushes what stands in the layout's own index: an index within an index. */
  const push = (name: string): Promise<string> => succeed('push', '--index', 'layout', named(name));

  test('an index is pushed, validated layer by layer and pulled', async () => {
    const pushed = await push('app:1');
    expect(await succeed('digest', named('app:1'))).toBe(pushed.split('@')[1]);
    const inner = named(`app@${made.index.digest}`);
    expect(await succeed('digest', inner)).toBe(made.index.digest);
    expect((await crane('validate', '--remote', inner)).output).toContain('PASS');
    await succeed('pull', '--format=oci', inner, path.join(work.folder, 'pulled'));
  });

  test('a copy mounts the layers, and tags, lists and the catalog show it', async () => {
    await push('original:1');
    const requests = await requestsDuring(berth, () => succeed('copy', named('original:1'), named('copy:1')));
    expect(mounted(requests)).toEqual(expect.arrayContaining([...made.layers]));
    expect(uploaded(requests)).not.toEqual(expect.arrayContaining([made.layers[0]]));
    await succeed('tag', named('copy:1'), 'latest');
    expect((await succeed('ls', named('copy'))).split('\n')).toEqual(['1', 'latest']);
    expect((await succeed('catalog', berth.host)).split('\n')).toContain('alice/copy');
  });

  test('what is deleted is not there, and crane says so', async () => {
    const pushed = await push('deleted:1');
    await succeed('delete', pushed);
    const ran = await crane('manifest', named('deleted:1'));
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('MANIFEST_UNKNOWN: no such tag or manifest in the repository');
  });

  test('labels of an image are changed in the registry', async () => {
    await push('base:1');
    const base = named(`base@${made.index.digest}`);
    await succeed('mutate', '--label', 'changed=yes', base, '--tag', named('base:2'));
    expect(await succeed('config', '--platform=linux/amd64', named('base:2'))).toContain('"changed":"yes"');
  });
});
