// The job queues of queues.clients.test.ts: how each is filled, and how it is told that a worker has died.
import { setTimeout } from 'node:timers/promises'
import { makeWorkerUtils } from 'graphile-worker'
import { PgBoss } from 'pg-boss'
import type { Client } from './client-run.ts'
import { npmVersions } from './npm-version.ts'
import { type Target, urlOf } from './program.ts'

/** How many jobs a queue gets. */
export const jobs = 1_000

/** One queue under test. */
export type Queue = {
  readonly about: Client
  /** Creates the tables and adds the jobs `0` to `jobs - 1`. */
  readonly fill: (url: string) => Promise<void>
  /** Makes the jobs free that dead workers still hold, where the queue has to be told. */
  readonly release: (url: string, dead: readonly string[]) => Promise<void>
  /** Jobs that are not done, by the queue's own books. */
  readonly openSql: string
}

/** The queue whose listener looks after itself. */
export const pgBoss: Queue = {
  about: {
    client: 'pg-boss',
    language: 'JavaScript',
    version: npmVersions('pg-boss', 'pg'),
    notes: 'its migrations under an advisory lock; LISTEN; jobs of a killed worker expire',
  },
  async fill(url) {
    const boss = new PgBoss({ connectionString: url, supervise: false, useListenNotify: true })
    boss.on('error', () => undefined)
    await boss.start()
    const options = { expireInSeconds: 10, retryLimit: 10, retryDelay: 0, notify: true }
    await boss.createQueue('work', options)
    await boss.insert(
      'work',
      everyJob().map((data) => ({ data })),
    )
    await boss.stop()
  },
  release: async () => undefined,
  openSql: `SELECT count(*)::int AS open FROM pgboss.job WHERE name = 'work' AND state <> 'completed'`,
}

const graphileWorker: Queue = {
  about: {
    client: 'Graphile Worker',
    language: 'JavaScript',
    version: npmVersions('graphile-worker', 'pg'),
    notes: 'its migrations; LISTEN; jobs of a killed worker are freed by forceUnlockWorkers()',
  },
  async fill(url) {
    const utils = await makeWorkerUtils({ connectionString: url })
    await utils.migrate()
    await utils.addJobs(everyJob().map((payload) => ({ identifier: 'work', payload })))
    await utils.release()
  },
  async release(url, dead) {
    const utils = await makeWorkerUtils({ connectionString: url })
    await utils.forceUnlockWorkers([...dead])
    await utils.release()
  },
  openSql: 'SELECT count(*)::int AS open FROM graphile_worker.jobs',
}

/** All of them. */
export const queues: readonly Queue[] = [pgBoss, graphileWorker]

function everyJob() {
  return Array.from({ length: jobs }, (_, job) => ({ job }))
}

/** Errors that pg-boss reports while its listener looks after itself some times. */
export async function listenFor(target: Target): Promise<string[]> {
  const options = { useListenNotify: true, notifyHeartbeatIntervalMs: 1_000, supervise: false }
  const boss = new PgBoss({ connectionString: urlOf(target), ...options })
  const errors: string[] = []
  boss.on('error', ({ message }) => errors.push(message))
  await boss.start()
  await boss.createQueue('heard', { notify: true })
  await setTimeout(3_000)
  await boss.stop({ graceful: false })
  return [...new Set(errors)]
}
