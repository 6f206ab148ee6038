/** Berth as it starts by default: its own PostgreSQL with fsync, blobs on disk, private repositories behind tokens. */
import { spawnBerth, type BerthProcess, type Login } from '../test/support/berth.ts';

/** Longer than any load. */
const tokenTtlSeconds = 3600;
export const accept =
  'application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json';

export interface Place {
  /** Of the whole run, for what PostgreSQL and Node make beside the data. */
  readonly folder: string;
  readonly dataDir: string;
  /** Another working tree, to run its code. */
  readonly root?: string;
  /** `BERTH_*` variables beside those of the benchmark. */
  readonly settings?: Readonly<Record<string, string>>;
}

export const startServer = ({ folder, dataDir, root, settings }: Place): Promise<BerthProcess> =>
  spawnBerth(
    {
      BERTH_DATA_DIR: dataDir,
      BERTH_TOKEN_TTL_SECONDS: String(tokenTtlSeconds),
      BERTH_LOG_LEVEL: 'warn',
      TMPDIR: folder,
      ...settings,
    },
    root,
  );

export async function stopServer(berth: BerthProcess): Promise<void> {
  if (berth.child.exitCode === null && berth.child.signalCode === null) await berth.end('SIGTERM');
}

export function basicOf({ username, password }: Login): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** What docker sends to pull and push, with a token fresh from the token end-point. @throws Error when there is none for this login */
export async function tokenHeaders(
  url: string,
  login: Login,
  repository: string,
): Promise<{ Authorization: string; Accept: string }> {
  const query = new URLSearchParams({ service: 'berth', scope: `repository:${repository}:pull,push` });
  const answer = await fetch(`${url}/auth/token?${query.toString()}`, { headers: { Authorization: basicOf(login) } });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${url}: no token for ${login.username}: ${answer.status} ${text}`);
  const { token } = JSON.parse(text) as { token: string };
  return { Authorization: `Bearer ${token}`, Accept: accept };
}
