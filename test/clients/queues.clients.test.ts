// Job queues on PostgreSQL, pg-boss and Graphile Worker, over one shard in transaction mode: their migrations, 1,000
// jobs, three workers of which two are killed on the way. Every job is done; none twice but those that a killed
// worker had in its hands. Both come out the same on plain PostgreSQL.
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { z } from 'zod'
import { until } from '../support/clients.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { type Target, urlOf } from './program.ts'
import { jobs, listenFor, pgBoss, type Queue, queues } from './queues.ts'
import { stackOf } from './suite.ts'

const deadlineMs = 45_000
const tablesSql = `CREATE TABLE runs (place bigserial, job integer NOT NULL, worker text NOT NULL);
  CREATE TABLE effects (job integer PRIMARY KEY, worker text NOT NULL)`

const cases = queues.flatMap((queue) =>
  inject('servers').map((at) => ({ queue, at, name: queue.about.client, version: at.version })),
)

describe.each(inject('servers'))('the listener of pg-boss, PostgreSQL $version', (at) => {
  let stack: Stack | undefined
  beforeAll(async () => {
    stack = await startStack(at, stackOf['one shard'])
  })
  afterAll(() => stack?.close())

  const did = 'its listener finds by itself that it listens'
  it(did, async ({ task }) => {
    assert(stack !== undefined, 'both sides are open')
    const run = { ...pgBoss.about, layout: 'one shard' as const, postgres: at.version, did }
    task.meta.clientRun = run
    const [direct, proxied] = await Promise.all([stack.direct, stack.proxy].map(listenFor))
    expect({ direct, proxied }).toEqual({ direct: [], proxied: [] })
  })
})

describe.each(cases)('$name over one shard, PostgreSQL $version', ({ queue, at }) => {
  let stack: Stack | undefined
  beforeAll(async () => {
    stack = await startStack(at, stackOf['one shard'])
  })
  afterAll(() => stack?.close())

  const did = '1,000 jobs are each done once, while two of three workers are killed and replaced'
  it(did, async ({ task }) => {
    task.meta.clientRun = { ...queue.about, layout: 'one shard', postgres: at.version, did }
    assert(stack !== undefined, 'both sides are open')
    const ends = await Promise.allSettled([doJobs(queue, stack.direct), doJobs(queue, stack.proxy)])
    const all = { effects: jobs, open: 0, doneTwiceByTheLiving: 0, several: true }
    const done = { status: 'fulfilled', value: all }
    expect(ends, 'PostgreSQL, Ringfence').toEqual([done, done])
  })
})

async function doJobs(queue: Queue, target: Target) {
  const url = urlOf(target)
  const client = new Client({ connectionString: url })
  await client.connect()
  const number = async (sql: string) => {
    const { rows } = await client.query<number[]>({ text: sql, rowMode: 'array' })
    return rows[0]?.[0] ?? 0
  }
  const effects = () => number('SELECT count(*)::int FROM effects')
  const workers: Worker[] = []
  try {
    await client.query(tablesSql)
    await queue.fill(url)
    for (const name of ['w1', 'w2', 'w3']) workers.push(await Worker.start(queue, name, url))
    for (const [name, successor, share] of [
      ['w1', 'w4', 0.2],
      ['w2', 'w5', 0.5],
    ] as const) {
      await until(
        `${name} is to be killed`,
        async () => (await effects()) > jobs * share,
        deadlineMs,
      )
      await workers.find((worker) => worker.name === name)?.kill()
      workers.push(await Worker.start(queue, successor, url))
    }
    await until('most jobs are done', async () => (await effects()) > jobs * 0.9, deadlineMs)
    const dead = workers.filter(({ killed }) => killed)
    await queue.release(
      url,
      dead.flatMap(({ ids }) => ids),
    )
    await until('all jobs are done', async () => (await number(queue.openSql)) === 0, deadlineMs)
    return {
      effects: await effects(),
      open: await number(queue.openSql),
      doneTwiceByTheLiving: await number(twiceSql),
      several: (await number('SELECT count(DISTINCT worker)::int FROM runs')) > 2,
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()))
    await client.end()
  }
}

/** Runs that another run followed though their worker was not killed. */
const twiceSql = `SELECT count(*)::int FROM runs r WHERE worker NOT IN ('w1', 'w2')
  AND EXISTS (SELECT FROM runs later WHERE later.job = r.job AND later.place > r.place)`

/** A worker process. */
class Worker {
  readonly name: string
  /** What the queue calls the worker in it. */
  readonly ids: readonly string[]
  readonly #child: ChildProcess

  private constructor(name: string, ids: readonly string[], child: ChildProcess) {
    this.name = name
    this.ids = ids
    this.#child = child
  }

  get killed(): boolean {
    return this.#child.signalCode !== null
  }

  static async start({ about }: Queue, name: string, url: string): Promise<Worker> {
    const file = join(import.meta.dirname, 'queue-worker.ts')
    const kind = about.client.toLowerCase().replace(' ', '-')
    const options: ForkOptions = { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }
    const child = fork(file, [kind, name, url], options)
    const [ids] = await Promise.race([once(child, 'message'), once(child, 'exit')])
    if (child.exitCode !== null) throw new Error(`${name} did not start`)
    return new Worker(name, z.array(z.string()).parse(ids), child)
  }

  /** Without a word: what it has in its hands stays where it is. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }
}
