// `ringfence shard pause` and `resume`: a planned switchover without errors. While a shard is paused,
// what needs its primary waits in every proxy; so either all proxies pause, or none stays paused.
import { type AdminLogin, type ProxyAddress, type Told, tellProxy } from './admin-client.ts'
import { chooseDatabase } from './choose-database.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import type { ProxyAt } from './options.ts'
import { adminOf, proxiesOf, proxyName } from './proxies.ts'
import { onStopSignals } from './stop-signals.ts'
import { renderTable } from './table.ts'

export type ShardOptions = {
  readonly config: string
  readonly database?: string
  /** Empty: the proxy that the file itself describes. */
  readonly proxy: readonly ProxyAt[]
  readonly timeoutMs: number
  readonly json: boolean
}

/** What `pause` and `resume` work on, taken from file and arguments. */
type Task = {
  readonly database: string
  readonly shard: string
  readonly proxies: readonly ProxyAddress[]
  readonly login: AdminLogin
  readonly timeoutMs: number
  readonly say: (line: string) => void
}

/** One proxy at the end; `unknown`: it could not be told to resume. */
type Row = {
  readonly proxy: string
  readonly state: 'paused' | 'resumed' | 'not paused' | 'unknown'
  readonly seconds: number
  readonly note: string | null
}

/** A paused proxy that cannot be reached to resume is told apart within this time. */
const undoTimeoutMs = 5_000

/** Pauses `shard` on all proxies or on none. Exit code 0, or 1 when none stays paused. */
export async function pauseCommand(
  shard: string,
  options: ShardOptions,
  out: (text: string) => void,
): Promise<number> {
  const task = await readTask(shard, options, out)
  const { database, proxies, say, timeoutMs } = task
  const before = `waiting for the transactions on shard "${shard}" of "${database}" to end`
  say(`${before}, at most ${timeoutMs / 1_000} s`)
  const controller = new AbortController()
  using _stopping = onStopSignals(() => controller.abort(new Error('interrupted')))
  const { rows, ok } = await pauseAll(task, controller)
  report({ ok, database, shard, rows }, options, out)
  const lost = rows.filter(({ state }) => state === 'unknown').map(({ proxy }) => proxy)
  if (ok) say(`all ${proxies.length} hold; go on with: ringfence shard resume ${shard}`)
  else if (lost.length === 0) say('not every proxy has paused, so none stays paused')
  else say(`may still be paused, so run "ringfence shard resume ${shard}": ${lost.join(', ')}`)
  return ok ? 0 : 1
}

/** Lets what waits for `shard` go on, on every proxy. Exit code 0, or 1 when one was not reached. */
export async function resumeCommand(
  shard: string,
  options: ShardOptions,
  out: (text: string) => void,
): Promise<number> {
  const task = await readTask(shard, options, out)
  const { database, proxies, timeoutMs } = task
  const rows = await Promise.all(proxies.map((proxy) => resumeOne(task, proxy, timeoutMs, null)))
  const ok = rows.every(({ state }) => state === 'resumed')
  report({ ok, database, shard, rows }, options, out)
  return ok ? 0 : 1
}

async function pauseAll(
  task: Task,
  controller: AbortController,
): Promise<{ readonly ok: boolean; readonly rows: readonly Row[] }> {
  const { proxies, say, timeoutMs } = task
  const startMs = performance.now()
  const late = setTimeout(() => {
    controller.abort(new Error(`transactions were still open after ${timeoutMs / 1_000} s`))
  }, timeoutMs)
  const told = await Promise.all(
    proxies.map(async (proxy) => {
      const answer = await tell(task, 'PAUSE', proxy, controller.signal)
      const seconds = secondsSince(startMs)
      if (answer.kind === 'done') say(`${proxyName(proxy)} paused after ${seconds} s`)
      else if (!controller.signal.aborted) {
        say(`${proxyName(proxy)} did not pause: ${answer.reason}`)
        controller.abort(new Error('given up, because another proxy did not pause'))
      }
      return { proxy, answer, seconds }
    }),
  )
  clearTimeout(late)
  const ok = told.every(({ answer }) => answer.kind === 'done')
  const rows = told.map(async ({ proxy, answer, seconds }): Promise<Row> => {
    if (ok) return { proxy: proxyName(proxy), state: 'paused', seconds, note: null }
    const note = answer.kind === 'done' ? 'had paused' : answer.reason
    if (answer.kind === 'unreached' || answer.kind === 'refused') {
      return { proxy: proxyName(proxy), state: 'not paused', seconds, note }
    }
    return resumeOne(task, proxy, undoTimeoutMs, note)
  })
  return { ok, rows: await Promise.all(rows) }
}

async function resumeOne(
  task: Task,
  proxy: ProxyAddress,
  timeoutMs: number,
  note: string | null,
): Promise<Row> {
  const startMs = performance.now()
  const controller = new AbortController()
  const late = setTimeout(() => {
    controller.abort(new Error(`no answer within ${timeoutMs / 1_000} s`))
  }, timeoutMs)
  const answer = await tell(task, 'RESUME', proxy, controller.signal)
  clearTimeout(late)
  const seconds = secondsSince(startMs)
  if (answer.kind === 'done') {
    task.say(`${proxyName(proxy)} resumed`)
    return { proxy: proxyName(proxy), state: 'resumed', seconds, note }
  }
  task.say(`${proxyName(proxy)} could not be told to resume: ${answer.reason}`)
  const notes = [note, `not resumed: ${answer.reason}`].filter((each) => each !== null)
  return { proxy: proxyName(proxy), state: 'unknown', seconds, note: notes.join('; ') }
}

function tell(
  { database, shard, login }: Task,
  verb: 'PAUSE' | 'RESUME',
  proxy: ProxyAddress,
  signal: AbortSignal,
): Promise<Told> {
  return tellProxy(proxy, login, `${verb} ${quoted(database)} ${quoted(shard)}`, signal)
}

async function readTask(
  shard: string,
  options: ShardOptions,
  out: (text: string) => void,
): Promise<Task> {
  const config = await readConfig(options.config)
  const { name: database, shards } = chooseDatabase(config.databases, options.database)
  if (!shards.some(({ id }) => id === shard)) {
    const known = shards.map(({ id }) => id).join(', ')
    throw new CommandFailure(`database "${database}" has no shard "${shard}"; it has ${known}`)
  }
  const say = (line: string) => {
    if (!options.json) out(`${line}\n`)
  }
  const proxies = proxiesOf(config, options.proxy)
  return { database, shard, proxies, login: adminOf(config), timeoutMs: options.timeoutMs, say }
}

function report(
  result: { ok: boolean; database: string; shard: string; rows: readonly Row[] },
  { json }: ShardOptions,
  out: (text: string) => void,
): void {
  const { rows, ...rest } = result
  if (json) return out(`${JSON.stringify({ ...rest, proxies: rows })}\n`)
  const cells = rows.map(({ proxy, state, seconds, note }) => {
    return [proxy, state, String(seconds), note ?? '']
  })
  out(renderTable(['proxy', 'state', 'seconds', 'note'], cells))
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function secondsSince(startMs: number): number {
  return Math.round((performance.now() - startMs) / 10) / 100
}
