// The forms in which a client can have the same thing run: function calls, COPY, cursors, portals with row limits,
// pipelines, strings with transactions inside.
import type { Random } from '../../support/random.ts'
import { type ArgumentType, type Command, execution, type Message } from './command.ts'
import { anyCall, queryThatSets, rowsThatSet, settingCall, statementThatSets } from './setters.ts'
import { ownReads } from './setup.ts'
import {
  chosenSetting,
  extended,
  holding,
  type Maker,
  settingNames,
  simple,
  type Situation,
  type Step,
} from './step.ts'

const sync: Message = { kind: 'sync' }
const flush: Message = { kind: 'flush' }
const names = ['p', 'q', '"Odd p"'] as const
const portals = ['one', 'two'] as const
const savepoints = ['s', 't'] as const

/** Each form once or twice. */
export const formMakers: readonly [Maker, ...Maker[]] = [
  (situation) => simple(statementThatSets(situation), false, 'statement that sets'),
  (situation) => simple(statementThatSets(situation), false, 'statement that sets'),
  (situation) =>
    mayHold(situation, () =>
      simple(statementThatSets(situation, anyCall(situation)), true, 'statement that locks'),
    ),
  (situation) => {
    const sql = statementThatSets(situation)
    return step(extended('statement that sets, extended', sql, situation.random.below(3)))
  },
  functionCall,
  functionCall,
  copyIn,
  copyIn,
  (situation) => simple(`CALL public.runs_and_commits('${situation.random.below(9)}')`),
  holding(
    (situation) => `DECLARE passing CURSOR FOR ${queryThatSets(situation, anyCall(situation))}`,
  ),
  holding(
    (situation) =>
      `DECLARE held CURSOR WITH HOLD FOR ${queryThatSets(situation, settingCall(situation))}`,
  ),
  ({ random, status }) =>
    status === 'T'
      ? simple(`${random.pick(['FETCH', 'MOVE'])} ${1 + random.below(2)} FROM passing`)
      : null,
  ({ status }) => (status === 'T' ? simple('CLOSE passing') : null),
  (situation) =>
    simple(
      `PREPARE ${situation.random.pick(names)} AS ${rowsThatSet(situation)}`,
      false,
      'PREPARE of what sets',
    ),
  ({ random }) =>
    simple(
      `PREPARE ${random.pick(names)} (text) AS SELECT ${random.pick([
        'public.remember($1)',
        "set_config('app.b', $1, false)",
        "set_config('app.c', $1, true)",
      ])}`,
      false,
      'PREPARE of what sets',
    ),
  (situation) =>
    simple(
      `EXECUTE ${situation.random.pick(names)}(${settingCall(situation)})`,
      false,
      'EXECUTE of what sets',
    ),
  (situation) =>
    simple(
      `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE ${situation.random.pick(names)}`,
      false,
      'EXPLAIN ANALYZE EXECUTE',
    ),
  holding(
    ({ random }) => `CREATE TEMP TABLE mine${random.below(9_999)} AS EXECUTE ${random.pick(names)}`,
  ),
  (situation) => {
    const { random } = situation
    const parse: Message = {
      kind: 'parse',
      name: random.pick(['p', 'q']),
      sql: rowsThatSet(situation),
    }
    return step({ what: 'Parse of what sets', messages: [parse, sync] })
  },
  ({ random }) => {
    const name = random.pick(['p', 'q'])
    const messages = Array.from({ length: 1 + random.below(3) }, () =>
      run('', name, random.below(3)),
    )
    return step({ what: 'named statement, several times', messages: [...messages.flat(), sync] })
  },
  (situation) => mayHold(situation, () => bindPortal(situation)),
  (situation) => mayHold(situation, () => bindPortal(situation)),
  inTransaction(({ random }) => ({
    what: 'portal goes on',
    messages: [{ kind: 'execute', portal: random.pick(portals), rowsMax: random.below(3) }, sync],
  })),
  inTransaction(({ random }) => ({
    what: 'portals interleaved',
    messages: [
      { kind: 'execute', portal: 'one', rowsMax: 1 },
      { kind: 'execute', portal: 'two', rowsMax: 1 },
      { kind: 'execute', portal: random.pick(portals), rowsMax: random.below(2) },
      sync,
    ],
  })),
  inTransaction(({ random }) => ({
    what: 'portal is described and closed',
    messages: [
      { kind: 'describe', what: 'P', name: random.pick(portals) },
      { kind: 'close', what: 'P', name: random.pick(portals) },
      sync,
    ],
  })),
  (situation) => mayHold(situation, () => pipeline(situation)),
  (situation) => mayHold(situation, () => pipeline(situation)),
  (situation) => mayHold(situation, () => pipeline(situation)),
  (situation) => mayHold(situation, () => string(situation)),
  (situation) => mayHold(situation, () => string(situation)),
  dates,
]

function step(command: Command, holds = false): Step {
  return { command, holds }
}

function mayHold(situation: Situation, make: () => Step): Step | null {
  return situation.mayHold ? { ...make(), holds: true } : null
}

function inTransaction(make: (situation: Situation) => Command): Maker {
  return (situation) => (situation.status === 'T' ? step(make(situation)) : null)
}

function run(
  portal: string,
  name: string,
  rowsMax: number,
  params: readonly string[] = [],
): readonly Message[] {
  return [
    { kind: 'bind', portal, name, params },
    { kind: 'execute', portal, rowsMax },
  ]
}

type Called = {
  readonly name: string
  readonly types: readonly ArgumentType[]
  readonly values: readonly string[]
}

/** The fast path of libpq's PQfn: who uses it keeps its server. */
function functionCall({ random, client, mayHold: holds }: Situation): Step | null {
  if (!holds) return null
  const digit = String(random.below(9))
  const called = random.pick<Called>([
    {
      name: 'set_config',
      types: ['text', 'text', 'bool'],
      values: [random.pick(['app.a', 'app.b', 'work_mem']), `${digit}1`, random.pick(['t', 'f'])],
    },
    { name: 'remember', types: ['text'], values: [digit] },
    { name: 'remember_here', types: ['text'], values: [digit] },
    { name: 'sets_memory', types: ['int4'], values: [`1${digit}`] },
    { name: 'raises', types: ['text'], values: [digit] },
    { name: 'unlocks', types: ['int8'], values: [String(client)] },
    { name: 'pg_advisory_unlock_all', types: [], values: [] },
    { name: 'locks', types: ['int8'], values: [String(client)] },
  ])
  const binary = random.oneIn(2)
  const what = binary ? 'function call, binary' : 'function call, text'
  return step({ what, messages: [{ kind: 'call', ...called, binary }] }, true)
}

/** Its trigger sets; in one go, since data that nobody waits for is dropped on both sides. */
function copyIn({ random }: Situation): Step {
  const data: Message = { kind: 'data', rows: `${random.below(9)}\n${random.below(9)}\n` }
  const end: Message = { kind: random.oneIn(3) ? 'fail' : 'done' }
  const table = random.pick(['public.watched', 'public.watched', 'public.nowhere'])
  const sql = `COPY ${table} FROM STDIN`
  if (random.oneIn(2)) {
    return step({ what: 'COPY FROM STDIN', messages: [{ kind: 'query', sql }, data, end] })
  }
  return step({
    what: 'COPY FROM STDIN, extended',
    messages: [...execution(sql), data, end, sync],
  })
}

function bindPortal(situation: Situation): Step {
  const { random } = situation
  const portal = random.pick(portals)
  const sql = queryThatSets(situation, anyCall(situation))
  const [parse, bind, execute] = execution(sql, { portal, rowsMax: 1 + random.below(2) })
  const messages = [parse, bind, random.oneIn(4) ? undefined : execute, sync]
  return step({
    what: 'named portal',
    messages: messages.filter((message) => message !== undefined),
  })
}

/** What stands in strings and pipelines. */
function anyStatement(situation: Situation): string {
  const { random } = situation
  const { name, value } = chosenSetting(random)
  const kinds: readonly [() => string, ...(() => string)[]] = [
    () => statementThatSets(situation),
    () => statementThatSets(situation),
    () => `SET ${name} TO ${value}`,
    () => `SET ${name} TO ${value}`,
    () => `SET LOCAL ${name} TO ${value}`,
    () => `RESET ${random.pick(settingNames)}`,
    () => `SELECT set_config('app.b', '${random.below(9)}', ${random.oneIn(2)})`,
    () => random.pick(ownReads),
    () => 'BEGIN',
    () => 'COMMIT',
    () => 'COMMIT',
    () => 'ROLLBACK',
    () => 'COMMIT AND CHAIN',
    () => `SAVEPOINT ${random.pick(savepoints)}`,
    () => `ROLLBACK TO ${random.pick(savepoints)}`,
    () => `RELEASE ${random.pick(savepoints)}`,
    () => 'SELECT 1 / 0',
    () => rare(random),
  ]
  return random.pick(kinds)()
}

/** What the proxy itself answers. */
function rare(random: Random): string {
  return random.pick([
    `PREPARE ${random.pick(names)} AS SELECT public.remember('3')`,
    `EXECUTE ${random.pick(names)}`,
    `DEALLOCATE ${random.pick(names)}`,
    'RESET ALL',
    'DISCARD ALL',
    'SET ROLE leaks_role',
  ])
}

function pipeline(situation: Situation): Step {
  const { random } = situation
  const flushes = random.oneIn(6)
  const messages: Message[] = []
  for (let left = 2 + random.below(3); left > 0; left -= 1) {
    const sql = anyStatement(situation)
    messages.push(...execution(sql, { rowsMax: random.oneIn(3) ? 1 : 0 }))
    if (flushes && random.oneIn(2)) messages.push(flush)
  }
  const what = flushes ? 'pipeline with Flush' : 'pipeline'
  return step({ what, messages: [...messages, sync] })
}

function string(situation: Situation): Step {
  const count = 2 + situation.random.below(4)
  const statements = Array.from({ length: count }, () => anyStatement(situation))
  return simple(statements.join('; '), true, 'string of several')
}

/** Constants that a server reads by the settings of the moment, under a name that others use too. */
function dates({ random }: Situation): Step {
  const sets = random.pick([
    "SET DateStyle = 'SQL, DMY'",
    "SET LOCAL DateStyle = 'SQL, DMY'",
    "SELECT public.sets_style('ISO, DMY')",
    'SELECT 1',
  ])
  const parse: Message = {
    kind: 'parse',
    name: 'dates',
    sql: "SELECT '1/2/2026'::date - '2026-01-01'::date",
  }
  return step({
    what: 'constants of a moment',
    messages: [
      ...execution(sets),
      parse,
      ...run('', 'dates', 0),
      { kind: 'close', what: 'S', name: 'dates' },
      sync,
    ],
  })
}
