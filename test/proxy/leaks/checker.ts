// The leak checker: many clients over few servers do random things to their sessions, each beside a plain PostgreSQL
// session that does the same. After every step both are asked for everything that SQL tells of a session.
//
// Clients are in lanes, which run at the same time; the clients of a lane take turns, so that what one sends to another
// comes in the same order on both sides. Only so many clients hold a server at a time as leave one for the others.
import { setTimeout as pause } from 'node:timers/promises'
import { askServer, present } from '../../support/clients.ts'
import { createRandom, type Random, seedOf } from '../../support/random.ts'
import type { TestServers } from '../../support/servers.ts'
import { startStack, type Stack } from '../../support/stack.ts'
import { chooseStep, probe, setupSql, showsThings } from './steps.ts'
import { type Command, Twin } from './twin.ts'

export type CheckOptions = {
  readonly servers: TestServers
  readonly clients: number
  readonly poolSize: number
  readonly lanes: number
  readonly steps: number
  readonly seed: number
  /** Called now and then with the steps that were taken. */
  readonly progress: (steps: number) => void
}

export type CheckResult = { readonly steps: number; readonly differences: readonly string[] }

const historyMax = 40
const probeEvery = 1
// Between two kills of servers.
const killEvery = 1_500
const progressEvery = 2_000
const differencesMax = 3

type LaneClient = { readonly number: number; readonly twin: Twin; holds: boolean }

class Checker {
  readonly #options: CheckOptions
  readonly #stack: Stack
  readonly differences: string[] = []
  taken = 0
  #holdersLeft: number

  constructor(options: CheckOptions, stack: Stack) {
    this.#options = options
    this.#stack = stack
    this.#holdersLeft = options.poolSize - 1
  }

  async runLane(lane: number): Promise<void> {
    const { clients: count, lanes, steps, seed } = this.#options
    const random = createRandom(seedOf(seed, lane))
    const history: string[] = []
    const clients = await Promise.all(
      Array.from({ length: Math.floor(count / lanes) }, async (_, at) => {
        const twin = new Twin(this.#stack.proxy, this.#stack.direct)
        await twin.connect()
        return { number: lane * 1_000 + at, twin, holds: false }
      }),
    )
    const [first, ...others] = clients
    if (first === undefined) return
    const share = Math.ceil(steps / lanes)
    for (let step = 0; step < share && this.differences.length < differencesMax; step += 1) {
      const wrong = await this.#step(random.pick([first, ...others]), lane, random, history)
      if (wrong !== '') {
        this.differences.push(`lane ${lane}, step ${step}: ${wrong}\n  ${history.join('\n  ')}`)
        break
      }
      this.taken += 1
      if (this.taken % progressEvery === 0) this.#options.progress(this.taken)
      if (this.taken % killEvery === 0) await this.#killServers()
    }
    for (const client of clients) this.#leave(client)
  }

  async #step(
    client: LaneClient,
    lane: number,
    random: Random,
    history: string[],
  ): Promise<string> {
    const { twin, number } = client
    if (random.oneIn(80)) return this.#reconnect(client, history)
    if (random.oneIn(800)) {
      return this.#send(client, { kind: 'cancel', sql: 'SELECT pg_sleep(20)' }, history)
    }
    const mayHold = client.holds || this.#holdersLeft > 0
    const { status } = twin
    const { command, holds } = chooseStep({ random, client: number, lane, mayHold, status })
    if (holds && !client.holds) {
      this.#holdersLeft -= 1
      client.holds = true
    }
    const wrong = await this.#send(client, command, history)
    if (isKilled(wrong)) return this.#reconnect(client, history)
    if (wrong !== '' || this.taken % probeEvery !== 0) return wrong
    const { wrong: different, told } = await twin.send(probe)
    if (isKilled(different)) return this.#reconnect(client, history)
    if (different !== '') return `after it the session is ${different}`
    if (client.holds && twin.status === 'I' && !showsThings(told)) this.#release(client)
    return ''
  }

  async #send({ twin, number }: LaneClient, command: Command, history: string[]): Promise<string> {
    history.push(`${number} ${twin.status}: ${JSON.stringify(command)}`)
    if (history.length > historyMax) history.shift()
    return (await twin.send(command)).wrong
  }

  async #reconnect(client: LaneClient, history: string[]): Promise<string> {
    history.push(`${client.number}: disconnects`)
    client.twin.disconnect()
    this.#release(client)
    // Both sides must have noticed before the same client takes its locks again.
    await pause(20)
    await client.twin.connect()
    return ''
  }

  #release(client: LaneClient): void {
    if (client.holds) this.#holdersLeft += 1
    client.holds = false
  }

  #leave(client: LaneClient): void {
    client.twin.disconnect()
    this.#release(client)
  }

  /** Ends servers that nobody holds: nobody may notice. */
  async #killServers(): Promise<void> {
    const [database] = this.#stack.instance.databases.values()
    const connections = (database?.pools ?? []).flatMap((pool) => [...pool.connections])
    const idle = connections.filter((server) => server.owner !== null && 'release' in server.owner)
    const pids = idle.slice(0, 2).map(({ processId }) => processId)
    const url = present(this.#stack.shardUrls[0])
    const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid = ANY ($1::int[]) AND state = 'idle'`
    if (pids.length > 0) await askServer(url, sql, [pids])
  }
}

/** A server that was killed as idle had been lent in that very moment. */
function isKilled(wrong: string): boolean {
  return /^told E\(C08006 [^)]*administrator command/.test(wrong)
}

/** Runs the check. @throws Error when a side does not answer */
export async function checkLeaks(options: CheckOptions): Promise<CheckResult> {
  const stack = await startStack(options.servers, {
    shards: 1,
    pool: { size: options.poolSize },
    setupSql,
  })
  try {
    const role = 'DO $$ BEGIN CREATE ROLE leaks_role; EXCEPTION WHEN OTHERS THEN NULL; END $$'
    await askServer(present(stack.shardUrls[0]), role)
    const checker = new Checker(options, stack)
    await Promise.all(Array.from({ length: options.lanes }, (_, lane) => checker.runLane(lane)))
    return { steps: checker.taken, differences: checker.differences }
  } finally {
    await stack.close()
  }
}
