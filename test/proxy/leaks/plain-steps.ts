// What the leak checker's clients do to their sessions, one statement at a time. The many forms in which the same can be
// said are in forms.ts.
import type { Random } from '../../support/random.ts'
import { execution, type Message } from './command.ts'
import { ownReads } from './setup.ts'
import {
  always,
  chosenSetting,
  holding,
  type Maker,
  settingNames,
  simple,
  type Step,
} from './step.ts'

const statementNames = ['p', 'q', '"Odd p"'] as const
const savepoints = ['s', 't'] as const

/** One maker for each kind of statement. */
export const plainMakers: readonly [Maker, ...Maker[]] = [
  ({ random }) => setStep(random, 'SET'),
  ({ random }) => setStep(random, 'SET'),
  ({ random }) => setStep(random, 'SET SESSION'),
  ({ random }) => setStep(random, 'SET LOCAL'),
  ({ random }) => simple(`RESET ${random.pick(settingNames)}`),
  always('RESET ALL'),
  ({ random }) => {
    const { name, value } = chosenSetting(random)
    const params = [name, value.replaceAll("'", ''), random.pick(['t', 'f'])]
    const run = execution('SELECT set_config($1, $2, $3)', { params, rowsMax: random.below(2) })
    return said('set_config($1, …)', [...run, sync])
  },
  ({ random }) =>
    simple(`SELECT set_config('app.b', '${random.below(9)}', ${random.oneIn(2)}) || '!'`),
  ({ random }) => simple(`SELECT public.remember('${random.below(9)}')`),
  ({ random }) => simple(`SELECT public.remember_here('${random.below(9)}')`),
  ({ random }) => simple(`INSERT INTO public.watched VALUES ('${random.below(9)}')`),
  ({ random }) => simple(`DO $$ BEGIN SET work_mem = '${1 + random.below(5)}MB'; END $$`),
  () => simple('SET ROLE leaks_role'),
  () => simple('RESET ROLE'),
  always("SELECT set_config('role', 'none', false)"),
  always('SET SESSION AUTHORIZATION leaks_role'),
  always('RESET SESSION AUTHORIZATION'),
  always('RESET SESSION AUTHORIZATION'),
  always(
    'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE',
  ),
  holding(() => 'BEGIN'),
  holding(() => 'BEGIN'),
  holding(() => 'BEGIN ISOLATION LEVEL REPEATABLE READ'),
  always('COMMIT'),
  always('COMMIT'),
  always('ROLLBACK'),
  ({ status }) => (status === 'I' ? null : simple('COMMIT AND CHAIN')),
  ({ random }) => simple(`SAVEPOINT ${random.pick(savepoints)}`),
  ({ random }) => simple(`ROLLBACK TO ${random.pick(savepoints)}`),
  ({ random }) => simple(`RELEASE ${random.pick(savepoints)}`),
  ({ random }) =>
    simple(`PREPARE ${random.pick(statementNames)} AS SELECT 'a${random.below(9)}', current_user`),
  ({ random }) =>
    simple(`PREPARE ${random.pick(statementNames)} (text) AS SELECT $1 || ' b${random.below(9)}'`),
  ({ random }) => simple(`EXECUTE ${random.pick(statementNames)}`),
  ({ random }) => simple(`EXECUTE ${random.pick(statementNames)}('w${random.below(9)}')`),
  ({ random }) => simple(`DEALLOCATE ${random.pick(statementNames)}`),
  always('DEALLOCATE ALL'),
  ({ random }) => {
    const sql = `SELECT $1 || ' c${random.below(9)}'`
    return said('Parse', [{ kind: 'parse', name: random.pick(['p', 'q']), sql }, sync])
  },
  ({ random }) => said('named statement', [...namedRun(random, ['z']), sync]),
  ({ random }) => said('named statement', [...namedRun(random, []), sync]),
  ({ random }) =>
    said('Close', [{ kind: 'close', what: 'S', name: random.pick(['p', 'q']) }, sync]),
  holding(({ client }) => `CREATE TEMP TABLE mine AS SELECT ${client} AS n`),
  always('SELECT * FROM mine'),
  always('DROP TABLE mine'),
  holding(() => 'CREATE TEMP TABLE passing (n int) ON COMMIT DROP'),
  holding(({ client }) => `SELECT pg_advisory_lock(${client})`),
  holding(({ client }) => `SELECT pg_advisory_lock(${client}), 1 / 0`),
  holding(() => 'SELECT public.take_lock(pg_backend_pid())::text IS NULL'),
  ({ client }) => simple(`SELECT pg_advisory_unlock(${client})`),
  always('SELECT pg_advisory_unlock_all()'),
  holding(({ client }) => `SELECT pg_advisory_xact_lock(${client})`),
  holding(() => 'DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3)'),
  always('FETCH 1 FROM held'),
  always('CLOSE held'),
  always('CLOSE ALL'),
  ({ random, lane }) => simple(`LISTEN ${channel(random, lane)}`),
  ({ random, lane }) => simple(`UNLISTEN ${channel(random, lane)}`),
  always('UNLISTEN *'),
  ({ random, lane }) => simple(`NOTIFY ${channel(random, lane)}, 'n${random.below(99)}'`),
  ({ random, lane }) => simple(`NOTIFY ${channel(random, lane)}, 'n${random.below(99)}'`),
  ({ random, lane }) =>
    simple(`SELECT pg_notify('${channel(random, lane)}', 'f${random.below(99)}')`),
  always('DISCARD ALL'),
  always('DISCARD PLANS'),
  always('DISCARD TEMP'),
  always('DISCARD SEQUENCES'),
  holding(
    () => "BEGIN; SELECT nextval('public.numbers') > 0, currval('public.numbers') = lastval()",
  ),
  ({ status }) => (status === 'T' ? simple("SELECT currval('public.numbers') > 0") : null),
  // PostgreSQL 18.4 itself crashes on an Execute of the portal of a simple query that has failed.
  ({ status }) =>
    status === 'E'
      ? null
      : said('Execute again', [{ kind: 'execute', portal: '', rowsMax: 1 }, sync]),
  ({ random }) => simple(random.pick(ownReads), false, 'read'),
  ({ random }) => simple(random.pick(ownReads), false, 'read'),
  ({ random }) => said('read, extended', [...execution(random.pick(ownReads)), sync]),
  always('SELECT 1 / 0'),
  always('SELECT nothing FROM nowhere'),
  always('this is no SQL'),
  always("SELECT '1/2/2026'::date, '2026-01-01'::timestamptz"),
  always('SELECT name FROM thing'),
  ({ random }) => {
    const { name, value } = chosenSetting(random)
    return simple(`SET ${name} TO ${value}; SELECT 1 / 0`)
  },
  ({ random, status }) => {
    const { name, value } = chosenSetting(random)
    return status !== 'I' ? null : simple(`BEGIN; SET ${name} TO ${value}; COMMIT`)
  },
  ({ random, lane }) => simple(`LISTEN ${channel(random, lane)}; SELECT 1 / 0`),
  always("INSERT INTO public.notes VALUES ('1/2/2026')"),
]

const sync: Message = { kind: 'sync' }

function said(what: string, messages: readonly Message[]): Step {
  return { command: { what, messages }, holds: false }
}

function namedRun(random: Random, params: readonly string[]): readonly Message[] {
  return [
    { kind: 'bind', portal: '', name: random.pick(['p', 'q']), params },
    { kind: 'execute', portal: '', rowsMax: 0 },
  ]
}

function setStep(random: Random, how: string): Step {
  const { name, value } = chosenSetting(random)
  return simple(`${how} ${name} TO ${value}`)
}

/** A channel of the client's lane. */
function channel(random: Random, lane: number): string {
  return `lane${lane}_${random.below(3)}`
}
