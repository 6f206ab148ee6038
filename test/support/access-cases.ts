/** The cells of the matrix of access that are looked at: who, with which credential, where. */
import type { Place, Who } from './access-oracle.ts';
import {
  accounts,
  callersOf,
  nobodies,
  robotCallersOf,
  robots,
  targets,
  type Caller,
  type Target,
} from './access-world.ts';

export interface Case {
  readonly caller: Caller;
  readonly target: Target;
  readonly place: Place;
  /** Of this case alone. */
  readonly n: number;
}

interface Endpoint {
  readonly id: string;
  /** What it makes must not be there for the next case. */
  readonly creates?: true;
}

let count = 0;

/** Spreads credentials over end-points, the same way in each run. */
function hash(text: string): number {
  let value = 2_166_136_261;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 16_777_619) >>> 0;
  return value;
}

const two = (): number => 2;

/** These show all the credentials they have. */
const thorough = ['stranger', 'developer-member', 'maintainer-collaborator', 'chief'];
export const most = ({ name, kind }: Who): number => (kind === 'robot' || thorough.includes(name) ? Infinity : 3);

/**
 * Everybody meets every target, at each end-point with other credentials.
 * @param waysOf how many credentials of an account, at most
 */
export function casesOf({ id, creates }: Endpoint, waysOf: (who: Who) => number = two): Case[] {
  const some = (callers: readonly Caller[], limit: number): readonly Caller[] =>
    callers
      .map((caller) => ({ caller, order: hash(`${id} ${caller.who.name} ${caller.credential}`) }))
      .toSorted((a, b) => a.order - b.order)
      .slice(0, limit)
      .map(({ caller }) => caller);
  return targets.flatMap((target) =>
    [
      ...nobodies,
      ...accounts.flatMap((who) => some(callersOf(who, target), waysOf(who))),
      ...robots.flatMap((who) => some(robotCallersOf(who), waysOf(who))),
    ].map((caller): Case => {
      count += 1;
      return { caller, target, n: count, place: creates === true ? target.alone(count) : target };
    }),
  );
}

export type Row = Readonly<Record<string, string>>;

export const rowOf = ({ id }: Endpoint, { caller, place }: Case): Row => ({
  endpoint: id,
  who: caller.who.name,
  credential: caller.credential,
  where: `${place.name} (${place.visibility ?? 'absent'})`,
});
