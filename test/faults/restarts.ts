// A server that restarts under load, in PostgreSQL's three ways: nothing that was acknowledged is lost or doubled, clients
// are told what the operations page says and keep their connections, and everybody goes on once it is back.
import { signalProcess, waitUntil } from '../../demo/process.ts'
import type { PostgresServer } from '../../demo/postgres-server.ts'
import { askServer, pause, until, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import type { OwnCluster } from './own-cluster.ts'
import { newReport, type Report, tally } from './report.ts'
import { notReleased, ownSettings, settingsSql } from './rest.ts'
import { type LoadFailure, loadSetup, RestartLoad } from './restart-load.ts'

const clientsOfAKind = 25
const steadyMs = 700
/** Everybody goes on within that time after the server is back. */
const backMs = 10_000
const successesWanted = 3

type Restart = {
  readonly name: string
  readonly carryOut: (postgres: PostgresServer) => Promise<void>
}

const all: readonly Restart[] = [
  { name: 'fast', carryOut: (postgres) => postgres.restart() },
  {
    name: 'immediate',
    carryOut: async (postgres) => {
      await postgres.stop('immediate')
      await postgres.start()
    },
  },
  {
    name: 'killed postmaster',
    carryOut: async (postgres) => {
      signalProcess(postgres.pid ?? 0, 'SIGKILL')
      await waitUntil(() => !postgres.running, backMs)
      await postgres.start()
    },
  },
]

/** What may be told of each thing (operations page, "Failover"). */
const told: Readonly<Record<LoadFailure['kind'], ReadonlyMap<string | null, string>>> = {
  read: new Map(),
  write: new Map([['08006', 'statement']]),
  transaction: new Map([
    ['40001', 'statement commit'],
    ['08006', 'commit'],
  ]),
}

/** `rounds` restarts of each kind; a cluster is taken for it that nobody else uses. */
export async function restartUnderLoad(
  { servers, postgres }: OwnCluster,
  { rounds, autoPrepare }: { readonly rounds: number; readonly autoPrepare: boolean },
): Promise<Report> {
  const way = autoPrepare ? 'pool.auto_prepare on' : 'the defaults'
  const report = newReport(`a server that restarts under load (${way})`)
  const stack = await startStack(servers, {
    shards: 1,
    authRules: [{ database: null, user: null, address: null, method: 'trust' }],
    pool: { size: 20, laneServersMax: 2 },
    database: { failover: { waitMs: 20_000, probeMs: 1_000 }, autoPrepare },
    setupSql: loadSetup,
  })
  try {
    await untilKnown(stack)
    for (const restart of Array.from({ length: rounds }, () => all).flat()) {
      await oneRestart(stack, postgres, restart, report)
    }
  } finally {
    await stack.close()
  }
  return report
}

/** Tables are known some time after they were created; until then nobody knows that a read of them may run twice. */
async function untilKnown({ proxy, instance }: Stack): Promise<void> {
  const rides = () =>
    [...instance.databases.values()].some(({ pools }) =>
      pools.some(({ lane }) => lane.counts.rides > 0),
    )
  await withClient(proxy, async (client) => {
    await until('reads of the table ride', async () => {
      await value(client, 'SELECT note FROM items WHERE id = 1')
      return rides()
    })
  })
}

async function oneRestart(
  stack: Stack,
  postgres: PostgresServer,
  { name, carryOut }: Restart,
  report: Report,
): Promise<void> {
  const complain = (what: string) => void report.complaints.push(`${name}: ${what}`)
  const load = new RestartLoad(stack.proxy)
  await load.start(clientsOfAKind)
  await pause(steadyMs)
  await carryOut(postgres)
  load.forgetSuccesses()
  const goesOn = () => load.fewestSuccesses >= successesWanted
  const backAtMs = performance.now()
  await until('everybody goes on', goesOn, backMs).catch((error: unknown) =>
    complain(String(error)),
  )
  const seconds = Math.ceil((performance.now() - backAtMs) / 1_000)
  tally(report, `${name}: all go on within ${seconds} s`)
  await load.stop()
  for (const { kind, step, sqlstate, message } of load.failures) {
    tally(report, `${name}: ${kind} ${sqlstate ?? 'connection ended'}`)
    const expected = told[kind].get(sqlstate)?.includes(step) === true
    if (!expected) complain(`a ${kind}, ${step}, was told ${sqlstate} ${message}`)
  }
  for (const wrong of load.wrongAnswers) complain(wrong)
  for (const wrong of await wrongWrites(stack, load)) complain(wrong)
  const gone = () => stack.instance.sessions.size === 0 && stack.poolStats().leased === 0
  await until('the pool is at rest', gone).catch((error: unknown) => complain(String(error)))
  const { waiting } = stack.poolStats()
  if (waiting > 0) complain(`${waiting} are waiting`)
  const held = await notReleased(stack.shardUrls[0] ?? '')
  if (held !== null) complain(held)
  const found = await withClient(stack.proxy, (client) => value(client, settingsSql))
  if (found !== ownSettings) complain(`settings are ${found}`)
}

async function wrongWrites({ shardUrls }: Stack, load: RestartLoad): Promise<string[]> {
  const sql = `WITH gone AS (DELETE FROM entries RETURNING id)
               SELECT id || ' ' || count(*) FROM gone GROUP BY id`
  const counts = new Map<string, number>()
  for (const text of await askServer(shardUrls[0] ?? '', sql)) {
    const [id = '', count = ''] = (text ?? '').split(' ')
    counts.set(id, Number(count))
  }
  const wrong = load.writes.flatMap(({ id, outcome, rows }) => {
    const found = counts.get(id) ?? 0
    counts.delete(id)
    if (
      outcome === 'unknown'
        ? found === 0 || found === rows
        : found === (outcome === 'kept' ? rows : 0)
    )
      return []
    return [`a write that was ${outcome} has ${found} of ${rows} rows`]
  })
  return [...wrong, ...[...counts.keys()].map((id) => `${id} was never written`)]
}
