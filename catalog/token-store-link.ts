// The connection to Redis: one, pipelined by nature (commands go out as they come, answers come in order), never
// queueing while there is none. It connects again by itself, 50 ms to 1 s after the last failure, and gives up
// a connection on which nothing was answered for three times the limit of one command.
import type { ConnectionOptions } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import type { Log } from '../core/log.ts'
import type { Script } from './token-store-scripts.ts'
import type { RedisTarget } from './token-store-url.ts'

export type LinkOptions = {
  readonly target: RedisTarget
  /** Used when the target is encrypted. */
  readonly tls: ConnectionOptions
  readonly timeoutMs: number
  readonly log: Log
  /** When commands can be sent on a new connection, before any is: it may lead to another server. */
  readonly onReady: () => void
}

const connectTimeoutMs = 1_000
const backoffMinMs = 50
const backoffMaxMs = 1_000

export class RedisLink {
  readonly #client: Redis | Cluster
  readonly #options: LinkOptions
  #lastReason = ''
  /** The connection of now was told of by onReady. */
  #announced = false

  /** Does not connect yet. */
  constructor(options: LinkOptions) {
    this.#options = options
    this.#client = createClient(options)
    this.#client.on('error', (error: unknown) => this.#failed(error))
    this.#client.on('close', () => {
      this.#announced = false
    })
    this.#client.on('ready', () => {
      this.#lastReason = ''
      this.#announced = true
      options.onReady()
    })
  }

  /** Connects, and again whenever the connection is lost. */
  open(): void {
    // A failure is told by the event, and tried again.
    this.#client.connect().catch(() => undefined)
  }

  close(): void {
    this.#client.disconnect()
  }

  /** Commands can be sent. */
  get ready(): boolean {
    return this.#announced && this.#client.status === 'ready'
  }

  /** Tokens can vanish one by one: Redis may evict them, or a node of a cluster starts again without them. */
  async forgetsSingly(): Promise<boolean> {
    if (this.#client instanceof Cluster) return true
    const memory = await this.#client.info('memory')
    const limited = !/^maxmemory:0\r?$/m.test(memory)
    return limited && !/^maxmemory_policy:noeviction\r?$/m.test(memory)
  }

  /** Run ids of a cluster's masters, any order the same; empty for one server, which scripts ask themselves. */
  async clusterRuns(): Promise<string> {
    if (!(this.#client instanceof Cluster)) return ''
    const answers = await Promise.all(
      this.#client.nodes('master').map((node) => node.info('server')),
    )
    return answers
      .map((answer) => `/${/^run_id:(\w+)/m.exec(answer)?.[1] ?? ''}`)
      .sort()
      .join('')
  }

  read(key: string): Promise<Record<string, string>> {
    return this.#client.hgetall(key)
  }

  /** Runs a script on its one key. */
  async run(script: Script, key: string, args: readonly string[]): Promise<unknown> {
    try {
      return await this.#client.evalsha(script.sha, 1, key, ...args)
    } catch (error) {
      if (!reasonOf(error).startsWith('NOSCRIPT')) throw error
      return this.#client.eval(script.lua, 1, key, ...args)
    }
  }

  #failed(error: unknown): void {
    const reason = reasonOf(error)
    // Once per reason, not once per attempt.
    if (reason === this.#lastReason) return
    this.#lastReason = reason
    this.#options.log.warn({ reason }, 'Redis cannot be reached')
  }
}

/** What an error says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function createClient({ target, tls, timeoutMs }: LinkOptions): Redis | Cluster {
  const common = {
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(target.password === undefined ? {} : { password: target.password }),
    ...(target.encrypted ? { tls } : {}),
    connectionName: 'ringfence',
    lazyConnect: true,
    connectTimeout: connectTimeoutMs,
    commandTimeout: timeoutMs,
    socketTimeout: 3 * timeoutMs,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // A master that was replaced refuses to write; the sentinels know its successor.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  }
  if (target.kind === 'cluster') {
    return new Cluster([...target.hosts], {
      lazyConnect: true,
      enableOfflineQueue: false,
      redisOptions: common,
      clusterRetryStrategy: backoff,
      slotsRefreshTimeout: connectTimeoutMs,
    })
  }
  const single = {
    ...common,
    db: target.db,
    enableOfflineQueue: false,
    retryStrategy: backoff,
  }
  if (target.kind === 'single') return new Redis({ ...single, ...target.hosts[0] })
  return new Redis({
    ...single,
    sentinels: [...target.hosts],
    name: target.master,
    role: 'master',
    failoverDetector: true,
    sentinelRetryStrategy: backoff,
    sentinelReconnectStrategy: backoff,
    ...(target.sentinelPassword === undefined ? {} : { sentinelPassword: target.sentinelPassword }),
    ...(target.encrypted ? { enableTLSForSentinelMode: true, sentinelTLS: tls } : {}),
  })
}

function backoff(attempts: number): number {
  return Math.min(backoffMaxMs, backoffMinMs * 2 ** (attempts - 1))
}
