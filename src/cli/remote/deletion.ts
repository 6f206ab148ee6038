import { withQuery } from './client.ts';
import type { Call } from './command.ts';

/** What goes, or has gone; of a repository there are fewer things. */
interface Plan {
  readonly repositories: readonly string[];
  readonly bytesFreed: number;
  readonly dryRun: boolean;
  readonly [count: string]: unknown;
}

const counted = ['tags', 'manifests', 'blobs', 'members', 'teams', 'robots'];
const namedMax = 20;

/**
 * Shows what a deletion takes away; with --yes it takes away exactly that.
 * @param what `the organization acme`
 */
export async function planOrDelete(
  { api, options, print }: Call<{ readonly yes?: true }>,
  path: string,
  what: string,
): Promise<void> {
  const { body: plan, headers } = await api.send<Plan>('DELETE', withQuery(path, { dry_run: '1' }));
  if (!options.yes) {
    print.done([`This would delete ${what}:`, ...linesOf(plan)], plan);
    print.note('Nothing was deleted. To delete it, say the same with --yes.');
    // Whoever wrote this into a script believes that it is gone.
    process.exitCode = 1;
    return;
  }
  const { body } = await api.send<Plan>('DELETE', path, { headers: { 'If-Match': String(headers.etag) } });
  print.done([`Deleted ${what}:`, ...linesOf(body)], body);
}

function linesOf(plan: Plan): string[] {
  const names = plan.repositories.slice(0, namedMax).map((name) => `  ${name}`);
  const more = plan.repositories.length - names.length;
  const counts = counted
    .filter((name) => typeof plan[name] === 'number')
    .map((name) => `${Number(plan[name])} ${name}`);
  return [
    ...names,
    ...(more > 0 ? [`  and ${more} more repositories`] : []),
    `  ${counts.join(', ')}; ${plan.bytesFreed} bytes that nothing else uses`,
  ];
}
