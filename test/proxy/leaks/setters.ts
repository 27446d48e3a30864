// Statements that set, lock or reset by what they call, in as many forms as SQL has.
import type { Random } from '../../support/random.ts'
import type { Situation } from './step.ts'

type Said = Pick<Situation, 'random' | 'client'>
type Form = (call: string, client: number) => string

const calls: readonly [(random: Random) => string, ...((random: Random) => string)[]] = [
  (random) => `set_config('app.b', '${random.below(9)}', false)`,
  (random) => `set_config('app.c', '${random.below(9)}', ${random.oneIn(2)})`,
  (random) => `set_config('work_mem', '${1 + random.below(9)}MB', ${random.oneIn(2)})`,
  (random) => `public.remember('${random.below(9)}')`,
  (random) => `public.remember_here('${random.below(9)}')`,
  (random) => `public.sets_memory(${1 + random.below(9)})`,
  (random) => `public.sets_style('${random.pick(['SQL, DMY', 'ISO, MDY', 'German'])}')`,
  (random) => `public.sets_path('${random.pick(['other, public', 'public'])}')`,
  () => 'public.sets_intervals()',
  () => 'public.resets()',
  (random) => `public.catches('${random.below(9)}')`,
  (random) => `public.raises('${random.below(9)}')`,
]

/** A call that leaves settings behind. */
export function settingCall({ random }: Said): string {
  return random.pick(calls)(random)
}

/** The same, or one that takes or gives back a lock of the client's own. */
export function anyCall({ random, client }: Said): string {
  if (random.oneIn(6))
    return `public.${random.pick(['locks', 'unlocks', 'unlocks'])}(${client})::text`
  return settingCall({ random, client })
}

/** What PREPARE takes. */
const rowForms: readonly [Form, ...Form[]] = [
  (call) => `SELECT ${call}`,
  (call) => `SELECT ${call}, n FROM generate_series(1, 3) AS n`,
  (call) => `SELECT 1 WHERE ${call} IS NOT NULL`,
  (call) => `SELECT coalesce(v, '') FROM (SELECT ${call} AS v OFFSET 0) AS inside`,
  (call) => `WITH x AS MATERIALIZED (SELECT ${call} AS v) SELECT v FROM x`,
  (call) => `VALUES (${call})`,
  (call, client) => `INSERT INTO public.kept SELECT ${client}, ${call}`,
  (call, client) => `INSERT INTO public.kept VALUES (${client}, ${call}) RETURNING value`,
  (call, client) =>
    `WITH w AS (INSERT INTO public.kept VALUES (${client}, ${call}) RETURNING value) SELECT value FROM w`,
  (call, client) => `UPDATE public.kept SET value = ${call} WHERE client = ${client}`,
  (call, client) => `DELETE FROM public.kept WHERE client = ${client} AND ${call} IS NOT NULL`,
  (
    call,
    client,
  ) => `MERGE INTO public.kept AS k USING (SELECT ${client} AS c, ${call} AS v) AS s ON k.client = s.c
     WHEN MATCHED THEN UPDATE SET value = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.c, s.v)`,
]

const otherForms: readonly [Form, ...Form[]] = [
  (call) => `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT ${call}`,
  (call) => `COPY (SELECT ${call}) TO STDOUT`,
  (call) => `DO $$ BEGIN PERFORM ${call}; END $$`,
  (call) => `CALL public.runs(${call})`,
  (call) => `CREATE TEMP TABLE fleeting ON COMMIT DROP AS SELECT ${call} AS v`,
  (call) => `INSERT INTO public.watched VALUES (${call})`,
  (call) => `INSERT INTO public.watching VALUES (${call})`,
  (call) =>
    `MERGE INTO public.watched AS w USING (SELECT ${call} AS v) AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (s.v)`,
]

/** A statement for PREPARE, Parse and cursors. */
export function rowsThatSet(said: Said, call = settingCall(said)): string {
  return said.random.pick(rowForms)(call, said.client)
}

/** A query for a cursor. */
export function queryThatSets({ random, client }: Said, call: string): string {
  const [first, second] = rowForms
  return random.pick([first, second ?? first])(call, client)
}

/** Any statement that sets. */
export function statementThatSets(said: Said, call = settingCall(said)): string {
  if (said.random.oneIn(2)) return rowsThatSet(said, call)
  return said.random.pick(otherForms)(call, said.client)
}
