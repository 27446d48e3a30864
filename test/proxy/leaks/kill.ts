// A server that dies at work, on both sides of a client alike. PostgreSQL's session is gone with it; the proxy's client must
// find itself where it was before the transaction, or be told that its session has ended.
import { setTimeout as pause } from 'node:timers/promises'
import { askServer, present } from '../../support/clients.ts'
import type { Random } from '../../support/random.ts'
import { type Command, execution, query } from './command.ts'
import type { LeakStack } from './leak-stack.ts'
import { probe } from './setup.ts'
import type { Twin } from './twin.ts'

/** What became of the session through the proxy. */
export type KillEnd = {
  readonly how: string
  /** '' when it is as it was, or was ended. */
  readonly wrong: string
  readonly closed: boolean
}

type KillOptions = {
  readonly stack: LeakStack
  readonly random: Random
  /** What PostgreSQL has told of the session when it was in no transaction. */
  readonly idle: string
}

const sleep = 'SELECT pg_catalog.pg_sleep(0.5)'
// Until both sides are at work.
const startMs = 40

const commands: readonly [Command, ...Command[]] = [
  query('killed', sleep),
  query('killed', `SET work_mem = '6MB'; ${sleep}`),
  query('killed', `SELECT public.remember('killed'); ${sleep}`),
  query('killed', `BEGIN; SET application_name = 'killed'; ${sleep}`),
  query('killed', `SELECT public.remember('killed'), pg_catalog.pg_sleep(0.5)`),
  {
    what: 'killed',
    messages: [...execution("SET app.a = 'killed'"), ...execution(sleep), { kind: 'sync' }],
  },
]

/** Ends the servers that work for `twin`. */
export async function killBusy(twin: Twin, { stack, random, idle }: KillOptions): Promise<KillEnd> {
  const command = random.pick(commands)
  const [pooledId = 0, plainId = 0] = twin.processIds
  const inTransaction = twin.status === 'T'
  twin.start(command)
  await pause(startMs)
  const how = `its server is killed (${inTransaction ? 'T' : 'I'}): ${JSON.stringify(command.messages)}`
  const pooledPids = stack.processesOf(pooledId)
  const pids = [...pooledPids, plainId]
  const url = present(stack.urls[0])
  await askServer(url, 'SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid', [pids])
  const { pooled } = await twin.answers()
  // It was still waiting for a server: nobody was killed there.
  if (pooledPids.length === 0) return { how: `${how}, too early`, wrong: '', closed: false }
  if (pooled.endsWith('closed')) return { how, wrong: '', closed: true }
  await twin.send(query('killed', 'ROLLBACK'))
  const after = await twin.send(probe)
  if (after.pooled.endsWith('closed')) return { how, wrong: '', closed: true }
  const wrong = after.pooled === idle ? '' : `${how}: ${after.pooled}\n    instead of ${idle}`
  return { how, wrong, closed: false }
}
