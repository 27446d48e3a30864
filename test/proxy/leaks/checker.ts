// The leak checker: many clients over few servers do random things to their sessions, each beside a plain PostgreSQL
// session that does the same. After every step both are asked for everything that SQL tells of a session.
//
// Clients are in lanes, which run at the same time; the clients of a lane take turns, so that what one sends to another
// comes in the same order on both sides. Only so many clients hold a server at a time as leave one for the others.
//
// Where the two may differ in what becomes of a command (a cancel request that comes sooner on one side, a serialization
// failure, a refusal with 0A000), both sessions begin anew; what the old ones have left would be seen by the others.
import { setTimeout as pause } from 'node:timers/promises'
import { askServer, present } from '../../support/clients.ts'
import { createRandom, type Random, seedOf } from '../../support/random.ts'
import { type LeakStack, startLeakStack } from './leak-stack.ts'
import type { TestServers } from '../../support/servers.ts'
import { type Command, query, textOf } from './command.ts'
import { killBusy } from './kill.ts'
import { ownReads, probe, showsThings } from './setup.ts'
import type { Mode } from './step.ts'
import { chooseStep } from './steps.ts'
import { type Answer, Twin } from './twin.ts'

export type CheckOptions = {
  readonly servers: TestServers
  readonly mode: Mode
  readonly clients: number
  readonly poolSize: number
  readonly lanes: number
  readonly steps: number
  readonly seed: number
  /** Called now and then with the steps that were taken. */
  readonly progress: (steps: number) => void
}

export type CheckResult = {
  readonly steps: number
  readonly differences: readonly string[]
  /** How many steps of each kind were taken. */
  readonly kinds: ReadonlyMap<string, number>
}

const historyMax = 120
// Between two kills of idle servers.
const killEvery = 1_500
const progressEvery = 2_000
const differencesMax = 3
// Both sides must have noticed that a client is gone before it takes its locks again.
const goneMs = 20

type LaneClient = {
  readonly number: number
  readonly twin: Twin
  holds: boolean
  /** It keeps its server until it leaves. */
  stays: boolean
  /** What plain PostgreSQL has told of the session outside of a transaction. */
  idle: string
}

type Lane = {
  readonly number: number
  readonly random: Random
  readonly history: string[]
  readonly clients: readonly LaneClient[]
}

class Checker {
  readonly #options: CheckOptions
  readonly #stack: LeakStack
  readonly differences: string[] = []
  readonly kinds = new Map<string, number>()
  taken = 0
  #holdersLeft: number

  constructor(options: CheckOptions, stack: LeakStack) {
    this.#options = options
    this.#stack = stack
    // In session mode every client has a server.
    this.#holdersLeft = options.mode === 'session' ? options.clients : options.poolSize - 1
  }

  async runLane(number: number): Promise<void> {
    const { clients: count, lanes, steps, seed } = this.#options
    const random = createRandom(seedOf(seed, number))
    const history: string[] = []
    const clients = Array.from({ length: Math.floor(count / lanes) }, (_, at) => {
      const twin = new Twin(this.#stack.pooled, this.#stack.plain)
      return { number: number * 1_000 + at, twin, holds: false, stays: false, idle: '' }
    })
    const [first, ...others] = clients
    if (first === undefined) return
    const lane: Lane = { number, random, history, clients }
    for (const client of clients) await this.#connect(client, lane)
    const share = Math.ceil(steps / lanes)
    for (let step = 0; step < share && this.differences.length < differencesMax; step += 1) {
      const wrong = await this.#step(random.pick([first, ...others]), lane)
      if (wrong !== '') {
        const what = `${wrong}\n    (${this.#stack.holders()})`
        this.differences.push(`lane ${number}, step ${step}: ${what}\n  ${history.join('\n  ')}`)
        break
      }
      this.taken += 1
      if (this.taken % progressEvery === 0) this.#options.progress(this.taken)
      if (this.taken % killEvery === 0) await this.#killIdle()
    }
    for (const client of clients) this.#leave(client)
  }

  async #step(client: LaneClient, lane: Lane): Promise<string> {
    const { random } = lane
    if (random.oneIn(80)) return this.#reconnect(client, lane)
    if (random.oneIn(60)) return this.#readTogether(lane)
    if (random.oneIn(200)) return this.#kill(client, lane)
    const { command, holds } = this.#choose(client, lane)
    if (holds) this.#hold(client)
    client.stays ||= command.messages.some(({ kind }) => kind === 'call')
    if (random.oneIn(60)) return this.#vanish(client, lane, command)
    // Whether others hear of what is cancelled, nobody can tell.
    const heard = /notify/i.test(textOf(command))
    const cancelMs = random.oneIn(60) && !heard ? random.below(5) : null
    const answer = await this.#send(client, lane, command, cancelMs)
    const verdict = judge(answer, cancelMs !== null)
    if (verdict !== 'same') return this.#settle(client, lane, verdict, answer)
    const probed = await client.twin.send(probe)
    const after = judge(probed, cancelMs !== null)
    if (after === 'different') return `after it the session is ${probed.wrong}`
    if (after !== 'same') return this.#settle(client, lane, after, probed)
    this.#note(client, probed)
    return ''
  }

  #choose({ number, twin, holds }: LaneClient, { random, number: lane }: Lane) {
    const mayHold = holds || this.#holdersLeft > 0
    const { mode } = this.#options
    if (random.oneIn(800)) {
      return { command: query('pg_sleep', 'SELECT pg_sleep(0.05)'), holds: false }
    }
    return chooseStep({ random, mode, client: number, lane, mayHold, status: twin.status })
  }

  async #send(
    { twin, number }: LaneClient,
    { history }: Lane,
    command: Command,
    cancelMs: number | null,
  ): Promise<Answer> {
    this.#count(cancelMs === null ? command.what : 'cancelled at a random moment')
    const late = cancelMs === null ? '' : `, cancelled after ${cancelMs} ms`
    remember(history, `${number} ${twin.processIds[0]} ${twin.status}: ${shown(command)}${late}`)
    const answer = await twin.send(command, cancelMs)
    // The request may be late: nothing is told of the client's next command by it.
    if (cancelMs !== null) await pause(goneMs)
    return answer
  }

  /** What may differ: the session begins anew on both sides. */
  async #settle(
    client: LaneClient,
    lane: Lane,
    verdict: Exclude<Verdict, 'same'>,
    { wrong }: Answer,
  ): Promise<string> {
    if (verdict === 'different') return wrong
    this.#count(`begun anew: ${verdict}`)
    return this.#reconnect(client, lane)
  }

  #note(client: LaneClient, { plain }: Answer): void {
    if (client.twin.status !== 'I') return
    client.idle = plain
    if (client.holds && !client.stays && !showsThings(plain)) this.#release(client)
  }

  /** Several clients read at the same time what only each of them must see. */
  async #readTogether({ clients, random, history }: Lane): Promise<string> {
    const command = query('reads of several clients at once', random.pick(ownReads))
    const readers = clients.filter(({ twin }) => twin.status === 'I')
    remember(history, `${readers.map(({ number }) => number).join(' ')}: ${shown(command)}`)
    for (const { twin } of readers) twin.start(command)
    const answers = await Promise.all(readers.map(({ twin }) => twin.answers()))
    this.#count(command.what)
    return answers.find((answer) => judge(answer, false) === 'different')?.wrong ?? ''
  }

  /** The client goes in the middle of a command. */
  async #vanish(client: LaneClient, lane: Lane, command: Command): Promise<string> {
    // Whether others hear of it, nobody can tell.
    if (/notify/i.test(textOf(command))) return ''
    const { random, history } = lane
    const terminates = random.oneIn(2)
    const how = { percent: random.pick([50, 90, 100, 100]), terminates, afterMs: random.below(3) }
    remember(history, `${client.number} vanishes (${JSON.stringify(how)}): ${shown(command)}`)
    this.#count(terminates ? 'vanishes with Terminate' : 'vanishes')
    await client.twin.vanish(command, how)
    return this.#reconnect(client, lane)
  }

  /** Its server dies at work, and so does PostgreSQL's. */
  async #kill(client: LaneClient, lane: Lane): Promise<string> {
    const { random, history } = lane
    if (client.twin.status === 'E' || client.idle === '') return ''
    this.#count('server killed at work')
    const end = await killBusy(client.twin, { stack: this.#stack, random, idle: client.idle })
    remember(history, `${client.number} ${end.how}`)
    if (end.wrong !== '') return end.wrong
    if (end.closed && !client.holds && this.#options.mode !== 'session') {
      return `${end.how}: the session was ended though it had nothing on its server`
    }
    return this.#reconnect(client, lane)
  }

  async #reconnect(client: LaneClient, lane: Lane): Promise<string> {
    remember(lane.history, `${client.number}: disconnects`)
    client.twin.disconnect()
    this.#release(client)
    await pause(goneMs)
    await this.#connect(client, lane)
    return ''
  }

  async #connect(client: LaneClient, { random, history }: Lane): Promise<void> {
    const parameters = random.pick(startups)
    remember(history, `${client.number}: connects with ${JSON.stringify(parameters)}`)
    await client.twin.connect(parameters)
    client.idle = ''
    const clean = query('clean', `DELETE FROM public.kept WHERE client = ${client.number}`)
    await client.twin.send(clean)
  }

  #count(what: string): void {
    this.kinds.set(what, (this.kinds.get(what) ?? 0) + 1)
  }

  #hold(client: LaneClient): void {
    if (!client.holds) this.#holdersLeft -= 1
    client.holds = true
  }

  #release(client: LaneClient): void {
    if (client.holds) this.#holdersLeft += 1
    client.holds = false
    client.stays = false
  }

  #leave(client: LaneClient): void {
    client.twin.disconnect()
    this.#release(client)
  }

  /** Ends servers that nobody holds: nobody may notice. */
  async #killIdle(): Promise<void> {
    const idle = this.#stack
      .connections()
      .filter((server) => server.owner !== null && 'release' in server.owner)
    const pids = idle.slice(0, 2).map(({ processId }) => processId)
    const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid = ANY ($1::int[]) AND state = 'idle'`
    if (pids.length > 0) await askServer(present(this.#stack.urls[0]), sql, [pids])
  }
}

const startups: readonly [Parameters, ...Parameters[]] = [
  [],
  [],
  [],
  [['application_name', 'from the start']],
  [['options', '-c app.a=given -c TimeZone=Asia/Tokyo']],
  [
    ['DateStyle', 'German'],
    ['options', '-c search_path=other,public'],
  ],
]

type Parameters = readonly (readonly [string, string])[]

/** `same` and `different`, or why the two cannot be compared any further. */
type Verdict = 'same' | 'different' | 'killed' | 'refused' | 'serialization' | 'cancelled'

function judge({ wrong, pooled, plain }: Answer, cancelled: boolean): Verdict {
  if (wrong === '') return 'same'
  const either = (pattern: RegExp) => pattern.test(pooled) || pattern.test(plain)
  // A server that was killed as idle had been lent in that very moment.
  if (/E\(C08006 [^)]*administrator command/.test(pooled)) return 'killed'
  if (pooled.includes('E(C0A000') && !plain.includes('E(C0A000')) return 'refused'
  if (either(/E\(C40(?:001|P01) /)) return 'serialization'
  return cancelled && either(/E\(C57014 /) ? 'cancelled' : 'different'
}

function remember(history: string[], line: string): void {
  history.push(line)
  if (history.length > historyMax) history.shift()
}

function shown({ messages }: Command): string {
  return messages.map((message) => JSON.stringify(message)).join(' ')
}

/** Runs the check. @throws Error when a side does not answer */
export async function checkLeaks(options: CheckOptions): Promise<CheckResult> {
  const stack = await startLeakStack(options)
  try {
    const checker = new Checker(options, stack)
    await Promise.all(Array.from({ length: options.lanes }, (_, lane) => checker.runLane(lane)))
    return { steps: checker.taken, differences: checker.differences, kinds: checker.kinds }
  } finally {
    await stack.close()
  }
}
