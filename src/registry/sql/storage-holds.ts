/** The hold on deletions from storage, if there is one. */
import type { Queryer } from '../../database/pool.ts';

export interface HoldRow {
  readonly held_at: Date;
  readonly held_until: Date;
  readonly held_by: string | null;
}

/** True in a statement while a hold lasts. */
export const isHeld = 'EXISTS (SELECT 1 FROM storage_holds WHERE held_until > now())';

/** Undefined when there is none, or it has run out. */
export async function findHold(queryer: Queryer): Promise<HoldRow | undefined> {
  const rows = await queryer.query<HoldRow>(
    'SELECT held_at, held_until, held_by FROM storage_holds WHERE held_until > now()',
  );
  return rows[0];
}

/** Makes a hold, or gives the one that lasts another end. */
export async function setHold(queryer: Queryer, hours: number, by: string | null): Promise<HoldRow> {
  const rows = await queryer.query<HoldRow>(
    `INSERT INTO storage_holds AS hold (held_until, held_by) VALUES (now() + make_interval(hours => $1), $2)
     ON CONFLICT (id) DO UPDATE SET held_until = EXCLUDED.held_until, held_by = EXCLUDED.held_by,
       held_at = CASE WHEN hold.held_until > now() THEN hold.held_at ELSE now() END
     RETURNING held_at, held_until, held_by`,
    [hours, by],
  );
  return rows[0]!;
}

export async function deleteHold(queryer: Queryer): Promise<void> {
  await queryer.query('DELETE FROM storage_holds');
}
