// A worker process of a job queue, ended by SIGKILL in the tests of queues.clients.test.ts: it notes that a run of
// a job began, works for a moment, and leaves the job's effect. argv: pg-boss or graphile-worker, its name, the URL.
import { EventEmitter } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { run, type WorkerEvents } from 'graphile-worker'
import { Pool } from 'pg'
import { PgBoss } from 'pg-boss'

type Job = { readonly job: number }

const [kind = '', name = '', connectionString = ''] = process.argv.slice(2)
const pool = new Pool({ connectionString, max: 2 })

/** What the queue calls the worker in this process. */
const ids: string[] = []
if (kind === 'pg-boss') await workForBoss()
else if (kind === 'graphile-worker') await workForGraphile()
else throw new Error(`there is no queue ${kind}`)
process.send?.(ids)

/** Each run leaves a row; the effect's key is the job, so that a job done twice at once would wait and be seen. */
async function work({ job }: Job): Promise<void> {
  await pool.query('INSERT INTO runs (job, worker) VALUES ($1, $2)', [job, name])
  await setTimeout(2)
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('INSERT INTO effects VALUES ($1, $2) ON CONFLICT DO NOTHING', [job, name])
    await client.query('COMMIT')
  } finally {
    client.release()
  }
}

async function workForBoss(): Promise<void> {
  const boss = new PgBoss({
    connectionString,
    max: 3,
    superviseIntervalSeconds: 1,
    maintenanceIntervalSeconds: 1,
    monitorIntervalSeconds: 1,
    useListenNotify: true,
  })
  // Errors of a connection that dies are the test's business; the process goes on.
  boss.on('error', (error) => process.stderr.write(`${String(error)}\n`))
  await boss.start()
  const polling = { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 }
  const options = { batchSize: 5, burstWhenBatchFull: true, ...polling }
  await boss.work<Job>('work', options, async (jobs) => {
    for (const { data } of jobs) await work(data)
  })
}

async function workForGraphile(): Promise<void> {
  const events: WorkerEvents = new EventEmitter()
  events.on('pool:create', ({ workerPool }) => ids.push(workerPool.id))
  const runner = await run({
    events,
    connectionString,
    maxPoolSize: 6,
    concurrency: 5,
    pollInterval: 500,
    noHandleSignals: true,
    taskList: { work: (payload) => work(jobOf(payload)) },
  })
  runner.promise.catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
}

function jobOf(payload: unknown): Job {
  if (typeof payload === 'object' && payload !== null && 'job' in payload) {
    return { job: Number(payload.job) }
  }
  throw new Error('a job without a number')
}
