// Thousands of clients that have logged in and are idle, and vanish by RST in one moment: who works beside them is served
// as before, and nothing of them is left. The proxy is a process of its own.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Client } from 'pg'
import { keptBytes, MeasuredProxy } from '../memory/measured-proxy.ts'
import { column, pause, until, withClient, withClients } from '../support/clients.ts'
import type { Place } from '../support/stack.ts'
import type { TestServers } from '../support/servers.ts'
import type { CrowdOrder } from './idle-child.ts'
import { newReport, type Report, tally } from './report.ts'

const workerCount = 20
const warmUp = 200
const betweenMs = 10
const phaseMs = 2_000
const goneMs = 30_000
/** Descriptors of either process that are no client's. */
const otherDescriptors = 500
/** Of the memory that they took, what may still be there. */
const leftShare = 0.1
const noiseBytes = 4 * 1024 * 1024

export async function idleCrowd(servers: TestServers, count: number): Promise<Report> {
  const report = newReport(`${count} idle clients that vanish at once`)
  requireDescriptors(count + otherDescriptors)
  const setupSql = 'CREATE TABLE entries (id int)'
  const proxy = await MeasuredProxy.start({ servers, tls: false, lanes: 1, poolSize: 8, setupSql })
  try {
    // What is made once, by the first clients, does not count.
    const first = await Crowd.start({ place: proxy.place, count: Math.min(count, warmUp) })
    await first.close()
    await withClients(proxy.place, workerCount, (workers) =>
      watch(proxy, { workers, count }, report),
    )
    const rest = async () => (await proxy.held()).sessions === 0
    await until('all have gone', rest, goneMs).catch((error: unknown) => {
      report.complaints.push(String(error))
    })
    const { leased, waiting } = await proxy.held()
    if (leased + waiting > 0) report.complaints.push(`${leased} leased, ${waiting} waiting`)
  } finally {
    await proxy.close()
  }
  return report
}

async function watch(
  proxy: MeasuredProxy,
  { workers, count }: { readonly workers: readonly Client[]; readonly count: number },
  report: Report,
): Promise<void> {
  await work(workers, 'alone', pause(phaseMs), report)
  const before = keptBytes(await proxy.held())
  const crowd = await Crowd.start({ place: proxy.place, count })
  try {
    const during = keptBytes(await proxy.held())
    await expectShown(proxy.place, workerCount + count, report)
    await work(workers, 'beside them', pause(phaseMs), report)
    const cut = count - (await crowd.count())
    if (cut > 0) report.complaints.push(`${cut} idle clients were cut off`)
    const vanishing = pause(phaseMs / 4).then(() => {
      crowd.vanish()
      return pause(phaseMs)
    })
    await work(workers, 'as they vanish', vanishing, report)
    const gone = async () => (await proxy.held()).sessions === workerCount
    await until('their sessions have ended', gone, goneMs)
    await expectShown(proxy.place, workerCount, report)
    const after = keptBytes(await proxy.held())
    const leftMax = (during - before) * leftShare + noiseBytes
    if (after - before > leftMax) {
      report.complaints.push(`${after - before} of ${during - before} bytes are still held`)
    }
  } finally {
    await crowd.close()
  }
}

/** All workers at work until `ended`; complains of whatever is not answered as it should. */
async function work(
  workers: readonly Client[],
  phase: string,
  ended: Promise<void>,
  report: Report,
): Promise<void> {
  const state = { working: true }
  const stop = ended.then(() => {
    state.working = false
  })
  const times: number[] = []
  await Promise.all(
    workers.map(async (client, at) => {
      for (let number = 0; state.working; number += 1) {
        const startMs = performance.now()
        const wrong = await ask(client, at * 1_000_000 + number)
        if (wrong !== null) report.complaints.push(`${phase}: ${wrong}`)
        times.push(performance.now() - startMs)
        await pause(betweenMs)
      }
    }),
  )
  await stop
  times.sort((a, b) => a - b)
  const quantile = (share: number) => (times[Math.floor(times.length * share)] ?? 0).toFixed(1)
  const figures = `p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms, most ${times.at(-1)?.toFixed(1)} ms`
  tally(report, `answers ${phase} (${figures})`, times.length)
}

/** A read on the fast lane, now and then a transaction. */
async function ask(client: Client, number: number): Promise<string | null> {
  try {
    if (number % 10 === 0) {
      await client.query(`BEGIN; INSERT INTO entries VALUES (${number}); ROLLBACK`)
    }
    const [found] = await column(client, `SELECT ${number}`)
    return found === String(number) ? null : `${found} for ${number}`
  } catch (error) {
    return String(error)
  }
}

/** SHOW CLIENTS has so many of the database. */
async function expectShown(place: Place, wanted: number, report: Report): Promise<void> {
  await withClient({ ...place, database: 'ringfence' }, async (admin) => {
    const { rows } = await admin.query<{ database: string }>('SHOW CLIENTS')
    const found = rows.filter(({ database }) => database === place.database).length
    if (found !== wanted) report.complaints.push(`SHOW CLIENTS has ${found} instead of ${wanted}`)
  })
}

/** A process with `count` idle clients. */
class Crowd {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(order: CrowdOrder): Promise<Crowd> {
    const crowd = new Crowd(
      fork(new URL('idle-child.ts', import.meta.url), [JSON.stringify(order)]),
    )
    await crowd.#answer()
    return crowd
  }

  /** How many are still connected. */
  async count(): Promise<number> {
    this.#child.send('count')
    return Number(await this.#answer())
  }

  vanish(): void {
    this.#child.send('vanish')
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill()
    await ended
  }

  async #answer(): Promise<unknown> {
    const failed = once(this.#child, 'exit').then(() => {
      throw new Error('the idle clients have ended')
    })
    failed.catch(() => undefined)
    const told: Promise<unknown[]> = once(this.#child, 'message')
    const [answer] = await Promise.race([told, failed])
    return answer
  }
}

/** @throws Error where this process and its children may not open so many */
function requireDescriptors(wanted: number): void {
  const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  if (Number(found) >= wanted) return
  throw new Error(`${wanted} open files are needed, ${found} are allowed: "ulimit -n ${wanted}"`)
}
