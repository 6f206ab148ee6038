/** A docker daemon of the test's own: its images, containers and sockets are in one folder, and go with it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Login } from './berth.ts';
import { makeShellRoot, run, runOk, temporaryFolder, type Ran } from './tools.ts';

/** One person at the command line, with a `~/.docker` of their own. */
export interface DockerUser {
  /** Runs `docker ARGS`, whatever comes of it. */
  try(...args: string[]): Promise<Ran>;
  /** Runs `docker ARGS`, which must succeed. @returns its standard output */
  do(...args: string[]): Promise<string>;
  /** The environment of `docker`, for what else reads it. */
  readonly env: Readonly<Record<string, string>>;
  login(host: string, login: Login): Promise<Ran>;
}

export interface Dockerd {
  /** For what is not docker's own. */
  readonly folder: string;
  /** The socket of the containerd that the daemon has started. */
  readonly containerd: string;
  newUser(): Promise<DockerUser>;
  stop(): Promise<void>;
}

/** @param parent where its folder is made. Default: the machine's folder for temporary files */
export async function startDockerd(parent?: string): Promise<Dockerd> {
  const { folder, remove } = await temporaryFolder('dockerd', parent);
  const within = (name: string): string => path.join(folder, name);
  const socket = `unix://${within('docker.sock')}`;
  const options = {
    'data-root': within('data'),
    'exec-root': within('exec'),
    pidfile: within('pid'),
    host: socket,
    iptables: false,
    ip6tables: false,
    bridge: 'none',
  };
  const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  // Ends with the test, however that ends: setpriv is of util-linux, which is wherever dockerd is.
  const words = ['setpriv', '--pdeathsig', 'TERM', 'dockerd', ...flags];
  const child = spawn(words[0]!, words.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line);
    if (line.includes('API listen on')) ready.resolve();
  });
  void exited.then(() => ready.reject(new Error(`dockerd ended:\n${lines.slice(-20).join('\n')}`)));
  await ready.promise;

  return {
    folder,
    containerd: within('exec/containerd/containerd.sock'),
    async newUser() {
      const home = await mkdtemp(within('user-'));
      // The classic builder: newer clients have BuildKit in a plugin, which is not everywhere.
      const env = { HOME: home, DOCKER_CONFIG: home, DOCKER_HOST: socket, DOCKER_BUILDKIT: '0' };
      return {
        env,
        try: (...args) => run('docker', args, { env }),
        do: (...args) => runOk('docker', args, { env }),
        login: (host, { username, password }) =>
          run('docker', ['login', '--username', username, '--password-stdin', host], { env, input: password }),
      };
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
      await remove();
    },
  };
}

/**
 * Builds an image from scratch, of two layers: a shell, the same in every image of one daemon, and above it a file
 * `/message` with this text, which the image prints when it is run.
 */
export async function buildImage(dockerd: Dockerd, user: DockerUser, name: string, message: string): Promise<void> {
  const context = await mkdtemp(path.join(dockerd.folder, 'build-'));
  await writeContext(context, message);
  await user.do('build', '--tag', name, context);
}

/** The folder of {@link buildImage}'s image, for other builders. */
export async function writeContext(context: string, message: string): Promise<void> {
  await makeShellRoot(path.join(context, 'root'));
  await writeFile(path.join(context, 'message'), `${message}\n`);
  const lines = [
    'FROM scratch',
    'COPY root /',
    'COPY message /message',
    'CMD ["/bin/dash", "-c", "read -r line </message; echo $line"]',
  ];
  await writeFile(path.join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
}
