// What the leak checker's clients do to their sessions, at random.
import type { Random } from '../../support/random.ts'
import type { Command } from './twin.ts'

/** What decides what a client may do next. */
export type Situation = {
  readonly random: Random
  /** Number of the client, for names and keys of its own. */
  readonly client: number
  /** Number of its lane, for what clients of a lane share. */
  readonly lane: number
  /** It may take a server for longer than a statement. */
  readonly mayHold: boolean
  /** Of its transaction, as ReadyForQuery tells it. */
  readonly status: string
}

/** One step; `holds`: it may keep a server. */
export type Step = { readonly command: Command; readonly holds: boolean }

const settings = {
  application_name: ["'one'", "'it''s'", "'two'"],
  work_mem: ["'1MB'", "'7MB'", '64'],
  statement_timeout: ["'1min'", "'77s'", 'DEFAULT'],
  DateStyle: ["'ISO, DMY'", "'SQL, MDY'", "'ISO, YMD'"],
  TimeZone: ["'UTC'", "'Asia/Tokyo'", "'Europe/Berlin'"],
  search_path: ['public', 'pg_catalog, public', 'other, public'],
  'app.a': ["'x'", "'y'"],
  default_transaction_isolation: ["'serializable'", "'read committed'"],
} as const satisfies Readonly<Record<string, readonly [string, ...string[]]>>

/** Asks for everything of a session that SQL can tell. */
export const probe: Command = {
  kind: 'simple',
  sql: `SELECT pg_catalog.current_setting('application_name'), pg_catalog.current_setting('work_mem'),
    pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('DateStyle'),
    pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('search_path'),
    nullif(pg_catalog.current_setting('app.a', true), ''), nullif(pg_catalog.current_setting('app.b', true), ''),
    pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('default_transaction_isolation'),
    pg_catalog.current_setting('role'), session_user, current_user,
    (SELECT pg_catalog.string_agg(objid::text || mode, ' ' ORDER BY objid, mode) FROM pg_catalog.pg_locks
      WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) AS locks,
    (SELECT pg_catalog.string_agg(relname::text, ' ' ORDER BY relname) FROM pg_catalog.pg_class
      WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind = 'r') AS tables,
    (SELECT pg_catalog.string_agg(name, ' ' ORDER BY name) FROM pg_catalog.pg_cursors WHERE is_holdable) AS cursors`,
}

/** True when a probe's answer shows something that only one server has. */
export function showsThings(told: string): boolean {
  return /Exclusive|Share|mine|held/.test(told)
}

type Names = readonly [keyof typeof settings, ...(keyof typeof settings)[]]
const names: Names = [
  'application_name',
  'work_mem',
  'statement_timeout',
  'DateStyle',
  'TimeZone',
  'search_path',
  'app.a',
  'default_transaction_isolation',
]

type Maker = (situation: Situation) => Step | null

const simple = (sql: string, holds = false): Step => ({ command: { kind: 'simple', sql }, holds })
const always = (sql: string) => () => simple(sql)
const holding = (sql: (situation: Situation) => string) => (situation: Situation) =>
  situation.mayHold ? simple(sql(situation), true) : null

const statementNames = ['p', 'q', '"Odd p"'] as const
const savepoints = ['s', 't'] as const

const makers: readonly [Maker, ...Maker[]] = [
  ({ random }) => setStep(random, 'SET'),
  ({ random }) => setStep(random, 'SET'),
  ({ random }) => setStep(random, 'SET SESSION'),
  ({ random }) => setStep(random, 'SET LOCAL'),
  ({ random }) => simple(`RESET ${random.pick(names)}`),
  always('RESET ALL'),
  ({ random }) => {
    const { name, value } = chosen(random)
    const params = [name, value.replaceAll("'", ''), random.pick(['t', 'f'])]
    return {
      command: {
        kind: 'extended',
        sql: 'SELECT set_config($1, $2, $3)',
        params,
        rowsMax: random.below(2),
      },
      holds: false,
    }
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
  ({ random }) => ({
    command: {
      kind: 'parse',
      name: random.pick(['p', 'q']),
      sql: `SELECT $1 || ' c${random.below(9)}'`,
    },
    holds: false,
  }),
  ({ random }) => ({
    command: { kind: 'bind', name: random.pick(['p', 'q']), params: ['z'] },
    holds: false,
  }),
  ({ random }) => ({
    command: { kind: 'bind', name: random.pick(['p', 'q']), params: [] },
    holds: false,
  }),
  ({ random }) => ({ command: { kind: 'close', name: random.pick(['p', 'q']) }, holds: false }),
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
  ({ status }) => (status === 'E' ? null : { command: { kind: 'more' }, holds: false }),
  always('SELECT 1 / 0'),
  always('SELECT nothing FROM nowhere'),
  always('this is no SQL'),
  always("SELECT '1/2/2026'::date, '2026-01-01'::timestamptz"),
  always('SELECT name FROM thing'),
  ({ random }) => {
    const { name, value } = chosen(random)
    return simple(`SET ${name} TO ${value}; SELECT 1 / 0`)
  },
  ({ random, status }) => {
    const { name, value } = chosen(random)
    return status !== 'I' ? null : simple(`BEGIN; SET ${name} TO ${value}; COMMIT`)
  },
  ({ random, lane }) => simple(`LISTEN ${channel(random, lane)}; SELECT 1 / 0`),
  always("INSERT INTO public.notes VALUES ('1/2/2026')"),
]

/** A step that suits the situation. */
export function chooseStep(situation: Situation): Step {
  const { random } = situation
  for (;;) {
    const step = random.pick(makers)(situation)
    if (step !== null) return random.oneIn(4) ? inParts(step, random.below(2)) : step
  }
}

/** The same in the extended protocol, which takes no string of several statements. */
function inParts({ command, holds }: Step, rowsMax: number): Step {
  if (command.kind !== 'simple' || /;(?!\s*END)/.test(command.sql)) return { command, holds }
  return { command: { kind: 'extended', sql: command.sql, params: [], rowsMax }, holds }
}

function setStep(random: Random, how: string): Step {
  const { name, value } = chosen(random)
  return simple(`${how} ${name} TO ${value}`)
}

function chosen(random: Random): { readonly name: string; readonly value: string } {
  const name = random.pick(names)
  return { name, value: random.pick<string>(settings[name]) }
}

function channel(random: Random, lane: number): string {
  return `lane${lane}_${random.below(3)}`
}

/** What the steps find in their databases. */
export const setupSql = `
CREATE SCHEMA other;
CREATE TABLE thing AS SELECT 'of public' AS name;
CREATE TABLE other.thing AS SELECT 'of other' AS name;
CREATE TABLE notes (at date);
CREATE SEQUENCE numbers;
CREATE TABLE watched (value text);
CREATE FUNCTION remember(value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.b', value, false) $$;
CREATE FUNCTION remember_here(value text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.b', value, true) $$;
CREATE FUNCTION take_lock(key int) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_lock(1000000); PERFORM pg_advisory_unlock(1000000); END $$;
CREATE FUNCTION on_watched() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.b', NEW.value, false); RETURN NEW; END $$;
CREATE TRIGGER on_watched BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched();
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA other TO PUBLIC;
GRANT USAGE ON SCHEMA other TO PUBLIC;
GRANT USAGE ON SEQUENCE numbers TO PUBLIC;
`
