// What Patroni says of a shard's servers: GET /cluster on its REST API (patroni.readthedocs.io,
// "REST API", cluster status endpoints). A hint and a veto, never the word itself: the leader it
// names is looked at first, and a server that it goes on calling a replica is not written to.
// Without an answer nothing changes.
// States: resting (#timer) → asking (#asking) → resting; after close() neither.
import type { Clock, Timer } from '../core/clock.ts'
import type { Log } from '../core/log.ts'

/** One member of the cluster. */
export type PatroniMember = {
  readonly id: string
  readonly role: 'leader' | 'replica' | 'other'
}

/** The members, by `host:port`; undefined when `document` is not an answer to GET /cluster. */
export function readCluster(document: unknown): readonly PatroniMember[] | undefined {
  if (!isRecord(document) || !Array.isArray(document['members'])) return undefined
  return document['members'].flatMap((member: unknown) => {
    if (!isRecord(member)) return []
    const { host, port, role } = member
    if (typeof host !== 'string' || typeof role !== 'string') return []
    return [{ id: `${host}:${String(port)}`, role: roles.get(role) ?? 'other' }]
  })
}

// `master` until version 4. A standby cluster's leader is in recovery: it may not be written to.
const roles: ReadonlyMap<string, PatroniMember['role']> = new Map([
  ['leader', 'leader'],
  ['master', 'leader'],
  ['primary', 'leader'],
  ['replica', 'replica'],
  ['sync_standby', 'replica'],
  ['quorum_standby', 'replica'],
])

export type PatroniOptions = {
  /** Of the REST APIs, such as `http://10.0.0.4:8008`; the first that answers is believed. */
  readonly urls: readonly string[]
  /** `host:port` of the configured servers; other members are ignored. */
  readonly hostIds: readonly string[]
  readonly clock: Clock
  readonly log: Log
  /** Each of the URLs has this long. */
  readonly limitMs: number
  readonly pauseMs: () => number
  /** There is a new answer; `leader` is null when it names none of ours. */
  readonly answered: (leader: string | null) => void
}

type Answer = { readonly askedAtMs: number; readonly replicas: ReadonlySet<string> }

const bodyBytesMax = 256 * 1024
const answersKept = 2
/** An older answer is no answer: Patroni has not been reached since. */
const answerAgeMaxMs = 10_000

export class PatroniWatch {
  readonly #options: PatroniOptions
  readonly #strangers = new Set<string>()
  #answers: readonly Answer[] = []
  #urls: readonly string[]
  #timer: Timer | null = null
  #asking: Promise<void> | null = null
  #aborted: AbortController | null = null
  #reached = true
  #closed = false

  constructor(options: PatroniOptions) {
    this.#options = options
    this.#urls = options.urls
  }

  /** Asks now, unless it is being asked. */
  look(): void {
    if (this.#closed || this.#asking !== null || this.#urls.length === 0) return
    this.#timer?.cancel()
    this.#asking = this.#ask().finally(() => {
      this.#asking = null
      if (this.#closed) return
      this.#timer = this.#options.clock.after(this.#options.pauseMs(), () => this.look())
    })
  }

  /**
   * True when its last two answers call `id` a replica and both were asked for after `sinceMs`: one
   * alone may tell of the time before a promotion.
   */
  disowns(id: string, sinceMs: number): boolean {
    const oldestMs = Math.max(sinceMs, this.#options.clock.nowMs() - answerAgeMaxMs)
    const agreeing = this.#answers.filter(
      ({ askedAtMs, replicas }) => askedAtMs > oldestMs && replicas.has(id),
    )
    return agreeing.length === answersKept
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.#aborted?.abort()
    await this.#asking
  }

  async #ask(): Promise<void> {
    const { clock, answered } = this.#options
    for (const url of this.#urls) {
      if (this.#closed) return
      const askedAtMs = clock.nowMs()
      const members = await this.#fetch(url)
      if (members === undefined) continue
      // The one that answered is asked first from now on.
      this.#urls = [url, ...this.#urls.filter((other) => other !== url)]
      this.#noteReached(true)
      const ours = this.#known(members)
      const replicas = ours.filter(({ role }) => role === 'replica').map(({ id }) => id)
      this.#answers = [...this.#answers, { askedAtMs, replicas: new Set(replicas) }].slice(
        -answersKept,
      )
      answered(ours.find(({ role }) => role === 'leader')?.id ?? null)
      return
    }
    this.#noteReached(this.#closed)
  }

  async #fetch(url: string): Promise<readonly PatroniMember[] | undefined> {
    const { clock, limitMs, log } = this.#options
    const aborted = new AbortController()
    this.#aborted = aborted
    const deadline = clock.after(limitMs, () => aborted.abort())
    try {
      const { href } = new URL('cluster', url.endsWith('/') ? url : `${url}/`)
      const response = await fetch(href, { signal: aborted.signal, redirect: 'error' })
      const members = readCluster(JSON.parse(await readBody(response)))
      if (members === undefined) throw new Error('the answer is not a description of a cluster')
      return members
    } catch (error) {
      log.debug({ url, error }, 'Patroni gives no answer')
      return undefined
    } finally {
      deadline.cancel()
      this.#aborted = null
    }
  }

  #known(members: readonly PatroniMember[]): readonly PatroniMember[] {
    const { hostIds, log } = this.#options
    return members.filter(({ id }) => {
      if (hostIds.includes(id)) return true
      if (!this.#strangers.has(id) && this.#strangers.size < strangersMax) {
        this.#strangers.add(id)
        log.warn({ member: id }, 'Patroni knows a server that is not configured: it is ignored')
      }
      return false
    })
  }

  #noteReached(reached: boolean): void {
    if (reached === this.#reached) return
    this.#reached = reached
    const { log, urls } = this.#options
    if (reached) log.info('Patroni answers again')
    else log.warn({ urls }, 'Patroni cannot be reached: the servers alone tell who is primary')
  }
}

/** Servers named in the log at most; a cluster in which addresses come and go would fill it. */
const strangersMax = 32

async function readBody(response: Response): Promise<string> {
  if (!response.ok) throw new Error(`HTTP status ${response.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > bodyBytesMax) throw new Error(`the answer is longer than ${bodyBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
