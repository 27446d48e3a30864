// The servers that the token store is tested against: the stand-in, and Debian's redis-server where it is installed.
// RINGFENCE_TEST_REDIS=both (what CI sets) makes a missing redis-server a failure.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from '../../demo/ports.ts'
import { signalProcess, waitUntil } from '../../demo/process.ts'
import { RedisStandIn } from '../../demo/redis-stand-in/server.ts'

/** A running server that can die. */
export type RunningRedis = {
  readonly port: number
  /** Without a word to anybody; nothing of its memory survives. */
  kill(): Promise<void>
}

export type RedisKind = {
  readonly name: string
  readonly start: (port: number) => Promise<RunningRedis>
}

const startDeadlineMs = 5_000

/** Of this run: `stand-in` and, where it is there or has to be, `redis-server`. */
export function redisKinds(): readonly RedisKind[] {
  const standIn = { name: 'stand-in', start: startStandIn }
  if (!hasRedisServer()) return [standIn]
  return [standIn, { name: 'redis-server', start: (port) => startRedisServer(port, []) }]
}

/** Whether tests of redis-server run. @throws Error when it has to be there and is not. */
export function hasRedisServer(): boolean {
  const found = findProgram() !== undefined
  if (!found && process.env['RINGFENCE_TEST_REDIS'] === 'both') {
    throw new Error('RINGFENCE_TEST_REDIS is "both", but there is no redis-server on the PATH')
  }
  return found
}

/** A redis-server without persistence, in a directory of its own. */
export async function startRedisServer(
  port: number,
  settings: readonly string[],
): Promise<RunningRedis> {
  const dir = await mkdtemp(join(tmpdir(), 'ringfence-redis-'))
  const standard = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', dir]
  const child = spawn(findProgram() ?? '', [...standard, ...settings], { stdio: 'ignore' })
  const kill = async () => {
    await killed(child)
    await rm(dir, { recursive: true, force: true })
  }
  if (port !== 0 && !(await waitUntil(() => answersPing(port), startDeadlineMs))) {
    await kill()
    throw new Error(`redis-server did not answer on port ${port}`)
  }
  return { port, kill }
}

/** A sentinel, which needs a file to write to, watching the master `tokens`. */
export async function startSentinel(masterPort: number): Promise<RunningRedis> {
  const port = await freePort()
  const dir = await mkdtemp(join(tmpdir(), 'ringfence-sentinel-'))
  const file = join(dir, 'sentinel.conf')
  const watch = `sentinel monitor tokens 127.0.0.1 ${masterPort} 1`
  const quick = 'sentinel down-after-milliseconds tokens 300\nsentinel failover-timeout tokens 2000'
  await writeFile(file, `bind 127.0.0.1\nport ${port}\ndir ${dir}\n${watch}\n${quick}\n`)
  const child = spawn(findProgram() ?? '', [file, '--sentinel'], { stdio: 'ignore' })
  const kill = async () => {
    await killed(child)
    await rm(dir, { recursive: true, force: true })
  }
  if (!(await waitUntil(() => answersPing(port), startDeadlineMs))) {
    await kill()
    throw new Error(`the sentinel did not answer on port ${port}`)
  }
  return { port, kill }
}

/** Runs one command on a connection of its own. */
export async function command(port: number, name: string, ...args: string[]): Promise<unknown> {
  const redis = new Redis({ port, host: '127.0.0.1', lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => undefined)
  await redis.connect()
  try {
    return await redis.call(name, ...args)
  } finally {
    redis.disconnect()
  }
}

async function startStandIn(port: number): Promise<RunningRedis> {
  const standIn = new RedisStandIn()
  await standIn.start(port)
  return { port: standIn.port, kill: () => standIn.stop() }
}

function findProgram(): string | undefined {
  const dirs = (process.env['PATH'] ?? '').split(delimiter)
  return dirs.map((dir) => join(dir, 'redis-server')).find((file) => existsSync(file))
}

function answersPing(port: number): Promise<boolean> {
  return command(port, 'PING').then(
    () => true,
    () => false,
  )
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = () =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  if (!ended()) signalProcess(child.pid ?? 0, 'SIGKILL')
  await waitUntil(ended, startDeadlineMs)
}
