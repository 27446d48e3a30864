// Plays a wire script at a server and writes down the conversation. What the client says is decided
// by the script alone, so two conversations can be laid side by side.
import { cancelBytes, frontendMessage, textBytes } from './frontend-bytes.ts'
import { type Arrival, type Endpoint, RawConnection } from './raw-connection.ts'
import { loginTo, type StartupWish } from './raw-login.ts'
import type { Step, WaitGoal, WireScript } from './wire-script.ts'
import { createReader, type Entry, note, sortRuns } from './wire-transcript.ts'

/** Longest silence that a wait endures, in milliseconds. */
const waitTimeoutMs = 15_000

const plainWish: StartupWish = { minor: 0, parameters: [] }

/** A client connection of the script: `main`, or what `on NAME` says. */
type Party = {
  readonly connection: RawConnection
  readonly read: (arrival: Arrival) => Entry
  readonly held: Buffer[]
  chunkBytes: number
  loggedIn: boolean
  keyData: Buffer
}

/**
 * The conversation of `script` with `endpoint`, after its setup was run there (see Tolerance for
 * `manyShards`).
 */
export async function playScript(
  script: WireScript,
  endpoint: Endpoint,
  manyShards = false,
): Promise<Entry[]> {
  await runSetup(script.setup, endpoint)
  const play = new Play(script, endpoint, manyShards)
  try {
    for (const step of script.steps) await play.step(step)
    await play.finish()
  } finally {
    play.destroy()
  }
  return sortRuns(play.entries, script.unordered)
}

/** Runs each text as a simple Query of its own. @throws Error with the server's words. */
export async function runSetup(setup: readonly string[], endpoint: Endpoint): Promise<void> {
  if (setup.length === 0) return
  const connection = await RawConnection.open(endpoint)
  try {
    await loginTo(endpoint)(connection, plainWish)
    const read = createReader({ user: endpoint.user, differs: '', manyShards: false })
    for (const sql of setup) {
      connection.send(textBytes('Q', sql))
      for (;;) {
        const arrival = await connection.next(waitTimeoutMs)
        if (arrival === 'closed' || arrival === 'timeout' || arrival.code === 'E') {
          throw new Error(`setup failed: ${sql}: ${read(arrival).text}`)
        }
        if (arrival.code === 'Z') break
      }
    }
    connection.send(frontendMessage('X'))
  } finally {
    connection.destroy()
  }
}

class Play {
  readonly entries: Entry[] = []
  readonly #script: WireScript
  readonly #endpoint: Endpoint
  readonly #manyShards: boolean
  readonly #parties = new Map<string, Party>()
  #current = 'main'
  #stopped = false

  constructor(script: WireScript, endpoint: Endpoint, manyShards: boolean) {
    this.#manyShards = manyShards
    this.#script = script
    this.#endpoint = endpoint
  }

  /** Steps after a wait that was not answered are left out. */
  async step(step: Step): Promise<void> {
    if (this.#stopped) return
    if ('line' in step) this.#say(step.line)
    if (step.kind === 'on') {
      this.#current = step.connection
      return
    }
    const party = await this.#party()
    if (step.kind === 'startup') return this.#login(party, step.wish, true)
    if (!party.loggedIn) await this.#login(party, plainWish, false)
    switch (step.kind) {
      case 'message':
        party.held.push(step.bytes)
        return
      case 'split':
        party.chunkBytes = step.chunkBytes
        return
      default:
        await flush(party)
    }
    if (step.kind === 'wait') await this.#wait(party, step.goal)
    if (step.kind === 'pause') await pause(step.ms)
    if (step.kind === 'cancel') await this.#cancel(party, step.afterMs)
  }

  /** Says goodbye on every connection and writes down what still comes: nothing should. */
  async finish(): Promise<void> {
    for (const [name, party] of this.#parties) {
      if (this.#stopped) return
      party.held.push(frontendMessage('X'))
      await flush(party)
      this.#say(`(end of ${name})`)
      await this.#wait(party, { kind: 'close' })
    }
  }

  destroy(): void {
    for (const party of this.#parties.values()) party.connection.destroy()
  }

  #say(line: string): void {
    this.entries.push({ from: 'client', text: line, digest: '' })
  }

  async #party(): Promise<Party> {
    const known = this.#parties.get(this.#current)
    if (known !== undefined) return known
    const party: Party = {
      connection: await RawConnection.open(this.#endpoint),
      read: createReader({
        user: this.#endpoint.user,
        differs: this.#script.differs,
        manyShards: this.#manyShards,
      }),
      held: [],
      chunkBytes: 0,
      loggedIn: false,
      keyData: Buffer.alloc(0),
    }
    this.#parties.set(this.#current, party)
    return party
  }

  async #login(party: Party, wish: StartupWish, recorded: boolean): Promise<void> {
    const arrivals = await loginTo(this.#endpoint)(party.connection, wish)
    for (const arrival of arrivals) {
      if (recorded || arrival === 'closed' || arrival === 'timeout') {
        this.entries.push(party.read(arrival))
      }
      if (typeof arrival === 'object' && arrival.code === 'K')
        party.keyData = arrival.bytes.subarray(5)
    }
    party.loggedIn = true
  }

  async #wait(party: Party, goal: WaitGoal): Promise<void> {
    let left = goal.kind === 'close' ? Number.POSITIVE_INFINITY : goal.count
    while (left > 0) {
      const arrival = await party.connection.next(waitTimeoutMs)
      this.entries.push(party.read(arrival))
      if (arrival === 'closed') return
      if (arrival === 'timeout') {
        this.#stopped = true
        return
      }
      if (goal.kind === 'any' || (goal.kind === 'type' && goal.code === arrival.code)) left -= 1
    }
  }

  async #cancel(party: Party, afterMs: number): Promise<void> {
    await pause(afterMs)
    const connection = await RawConnection.open(this.#endpoint)
    connection.send(cancelBytes(party.keyData))
    const arrival = await connection.next(waitTimeoutMs)
    this.entries.push(note(`cancel request: ${arrival === 'closed' ? 'closed' : 'answered'}`))
    connection.destroy()
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Everything that was held back leaves in one socket write, or in the chunks that the script asked
 * for.
 */
async function flush(party: Party): Promise<void> {
  const bytes = Buffer.concat(party.held.splice(0))
  if (bytes.length === 0) return
  if (party.chunkBytes > 0) await party.connection.sendInChunks(bytes, party.chunkBytes)
  else party.connection.send(bytes)
}
