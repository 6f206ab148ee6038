import { readFileSync } from 'node:fs';
import { ConfigError } from './config-error.ts';
import { configOf, type Config } from './config.ts';
import { nearest } from './nearest.ts';
import { readSecretFile, secretFileNames } from './secret-file.ts';
import { isSettingName, settingNames, settingOf, type SettingName, type SettingValues } from './settings.ts';
import { readYamlSettings } from './yaml-file.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A setting as it was found. */
export interface SettingInEffect {
  readonly name: SettingName;
  /** `***` for a secret; undefined where nothing is set and there is no default. */
  readonly shown: string | undefined;
  readonly source: 'environment' | 'berth.yaml' | `${SettingName}_FILE` | 'default';
}

export interface LoadedSettings {
  readonly config: Config;
  readonly inEffect: readonly SettingInEffect[];
  /** What was set, as {@link parseConfig} reads it, secrets included: for a process that must have the very same settings. */
  readonly texts: Readonly<Record<string, string>>;
}

/** @throws ConfigError with every problem at once */
export const loadConfig = (): Config => loadSettings().config;

/** Like {@link loadConfig}, with where each setting came from. */
export function loadSettings(): LoadedSettings {
  return parseSettings(process.env, readConfigFile(process.env['BERTH_CONFIG']));
}

/** @throws ConfigError with every problem at once */
export const parseConfig = (env: Environment, yamlText?: string): Config => parseSettings(env, yamlText).config;

/**
 * Environment first, then the file, then the default; what is empty counts as unset. Of a secret, each of them may name a
 * file instead.
 * @throws ConfigError with every problem at once
 */
export function parseSettings(env: Environment, yamlText = ''): LoadedSettings {
  const file = readYamlSettings(yamlText);
  const problems = [...file.problems, ...unknownNames(env, file.texts)];
  const values: Partial<Record<SettingName, unknown>> = {};
  const texts: Record<string, string> = {};
  const inEffect: SettingInEffect[] = [];

  for (const name of settingNames) {
    const { type, secret } = settingOf(name);
    const { text, source, problem } = find(name, env, file.texts);
    if (problem !== undefined) problems.push(problem);
    inEffect.push({ name, source, shown: text !== undefined && secret ? '***' : text });
    if (text === undefined) continue;
    if (source !== 'default') texts[name] = text;
    const result = type.safeParse(text);
    if (result.success) values[name] = result.data;
    else problems.push(`${describe(name, source, secret ? undefined : text)}: expected ${type.description}`);
  }
  problems.push(...disagreements(inEffect), ...disagreementsOf(values));
  if (problems.length > 0) throw new ConfigError(problems);
  // Each name was parsed by its own schema row, or problems would not be empty.
  return { config: configOf(values as SettingValues), inEffect, texts };
}

interface Found {
  readonly text: string | undefined;
  readonly source: SettingInEffect['source'];
  readonly problem?: string;
}

function find(name: SettingName, env: Environment, file: ReadonlyMap<string, string>): Found {
  const { secret, default: fallback } = settingOf(name);
  for (const [source, textOf] of [
    ['environment', (key: string) => env[key]],
    ['berth.yaml', (key: string) => file.get(key)],
  ] as const) {
    const text = textOf(name) || undefined;
    const path = secret ? textOf(`${name}_FILE`) || undefined : undefined;
    if (path === undefined && text === undefined) continue;
    if (path === undefined) return { text, source };
    if (text !== undefined)
      return { text, source, problem: `${name} and ${name}_FILE${placeOf(source)}: expected one of them` };
    const read = readSecretFile(path);
    if ('text' in read) return { text: read.text, source: `${name}_FILE` };
    // The path is not repeated: it may be the secret itself, put there by mistake.
    return { text: undefined, source, problem: `${name}_FILE${placeOf(source)}: ${read.problem}` };
  }
  return { text: fallback, source: 'default' };
}

const placeOf = (source: SettingInEffect['source']): string => (source === 'environment' ? '' : ` (in ${source})`);

function describe(name: string, source: SettingInEffect['source'], text?: string): string {
  const place = placeOf(source);
  return text === undefined ? `${name}${place} is malformed` : `${name}${place} is ${JSON.stringify(text)}`;
}

/** Rules about several settings at once. */
function disagreements(inEffect: readonly SettingInEffect[]): string[] {
  const isSet = (name: SettingName) => inEffect.some((setting) => setting.name === name && setting.shown !== undefined);
  const problems: string[] = [];
  if (isSet('BERTH_TLS_CERT') !== isSet('BERTH_TLS_KEY')) {
    problems.push('BERTH_TLS_CERT and BERTH_TLS_KEY: expected both or none');
  }
  for (const name of ['BERTH_MAIL_FROM', 'BERTH_PUBLIC_URL'] as const) {
    if (isSet('BERTH_SMTP_URL') && !isSet(name)) problems.push(`${name}: expected, because BERTH_SMTP_URL is set`);
  }
  for (const name of ['BERTH_DATABASE_DIRECT_URL', 'BERTH_DATABASE_REPLICA_URL'] as const) {
    if (isSet(name) && !isSet('BERTH_DATABASE_URL'))
      problems.push(`BERTH_DATABASE_URL: expected, because ${name} is set`);
  }
  if (inEffect.some(({ name, shown }) => name === 'BERTH_DATABASE_POOLER' && shown === 'transaction')) {
    for (const name of ['BERTH_DATABASE_URL', 'BERTH_DATABASE_DIRECT_URL'] as const)
      if (!isSet(name)) problems.push(`${name}: expected, because BERTH_DATABASE_POOLER is "transaction"`);
  }
  const inS3 = inEffect.find(({ name, shown }) => /^BERTH_STORAGE(_PREVIOUS)?$/.test(name) && shown === 's3');
  if (inS3 !== undefined && !isSet('BERTH_S3_BUCKET')) {
    problems.push(`BERTH_S3_BUCKET: expected, because ${inS3.name} is "s3"`);
  }
  if (isSet('BERTH_S3_ACCESS_KEY_ID') !== isSet('BERTH_S3_SECRET_ACCESS_KEY')) {
    problems.push('BERTH_S3_ACCESS_KEY_ID and BERTH_S3_SECRET_ACCESS_KEY: expected both or none');
  }
  if (inEffect.some(({ name, source }) => name === 'BERTH_CONFIG' && source === 'berth.yaml')) {
    problems.push('BERTH_CONFIG (in berth.yaml): expected in the environment only');
  }
  return problems;
}

/** The same, about what their texts were parsed to. */
function disagreementsOf(values: Partial<Record<SettingName, unknown>>): string[] {
  const { BERTH_WORKERS, BERTH_STORAGE, BERTH_STORAGE_PREVIOUS } = values;
  if (BERTH_STORAGE_PREVIOUS !== undefined && BERTH_STORAGE_PREVIOUS === BERTH_STORAGE)
    return ['BERTH_STORAGE_PREVIOUS is what BERTH_STORAGE is: expected another, or none'];
  if (BERTH_STORAGE !== 'memory' || BERTH_WORKERS === undefined || BERTH_WORKERS === 1) return [];
  return ['BERTH_STORAGE is "memory": expected another, because each of several BERTH_WORKERS has a memory of its own'];
}

function unknownNames(env: Environment, file: ReadonlyMap<string, string>): string[] {
  const fromEnvironment = Object.entries(env)
    .filter(([name, text]) => name.startsWith('BERTH_') && !isServiceLink(name, text ?? ''))
    .map(([name]) => ({ name, source: 'environment' }) as const);
  const fromFile = [...file.keys()].map((name) => ({ name, source: 'berth.yaml' }) as const);
  return [...fromEnvironment, ...fromFile]
    .filter(({ name }) => !isSettingName(name) && !secretFileNames.includes(name))
    .map(({ name, source }) => {
      const known = nearest(name, [...settingNames, ...secretFileNames]);
      return `${name}${placeOf(source)} is not a setting of Berth${known === undefined ? '' : `; did you mean ${known}?`}`;
    });
}

/**
 * Kubernetes puts variables such as BERTH_SERVICE_HOST and BERTH_PORT=tcp://... into every container beside a service
 * named "berth": https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
 */
function isServiceLink(name: string, text: string): boolean {
  return (
    /_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$/.test(name) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
    (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(text))
  );
}

/** The file's text; a file that nobody asked for by name may be missing. */
function readConfigFile(asked: string | undefined): string {
  const path = asked || 'berth.yaml';
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' && !asked) return '';
    const reason = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`;
    throw new ConfigError([`BERTH_CONFIG is ${JSON.stringify(path)}: ${reason}`], { cause });
  }
}
