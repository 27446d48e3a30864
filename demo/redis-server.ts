// Redis for the demo: the one that REDIS_URL names, else one of our own: a `redis-server` of the
// PATH, or the stand-in, which lives in this process and so ends with it.
import { spawn, type ChildProcess } from 'node:child_process'
import { access, constants, mkdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { pidFile } from './leftovers.ts'
import { freePort } from './ports.ts'
import { signalProcess, waitUntil } from './process.ts'
import { RedisStandIn } from './redis-stand-in/server.ts'
import { giveToServers, serverUser } from './server-user.ts'

/** A Redis to use until `stop`, which ends only one that we started. */
export type RedisServer = {
  readonly url: string
  stop(): Promise<void>
}

/** Where to look for a Redis and where ours may put its files. */
export type RedisOptions = {
  /** Created when missing; nothing in it is worth keeping. */
  readonly dir: string
  /** Its REDIS_URL and PATH count. */
  readonly env: NodeJS.ProcessEnv
}

const readyDeadlineMs = 5000
const stopDeadlineMs = 1000

/** Throws when ours does not come up. */
export async function startRedis({ dir, env }: RedisOptions): Promise<RedisServer> {
  const given = env['REDIS_URL']
  if (given !== undefined && given !== '') return { url: given, stop: async () => undefined }
  const binary = await findOnPath('redis-server', env['PATH'] ?? '')
  if (binary === null) return startStandIn()
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await giveToServers(dir)
  const port = await freePort()
  const settings = `--bind 127.0.0.1 --port ${port} --appendonly no`.split(' ')
  const child = spawn(binary, [...settings, '--dir', dir, '--save', ''], {
    ...serverUser(),
    cwd: dir,
    env: { PATH: env['PATH'] },
    stdio: 'ignore',
    detached: true,
  })
  child.once('error', () => undefined)
  child.unref()
  if (child.pid !== undefined) await writeFile(join(dir, pidFile), String(child.pid))
  const settled = async () => hasEnded(child) || (await answersPing(port))
  if (!(await waitUntil(settled, readyDeadlineMs)) || hasEnded(child)) {
    await stop(child)
    throw new Error(`${binary} did not answer on port ${port}`)
  }
  const end = async () => {
    await stop(child)
    await rm(dir, { recursive: true, force: true })
  }
  return { url: `redis://127.0.0.1:${port}`, stop: end }
}

async function startStandIn(): Promise<RedisServer> {
  const standIn = new RedisStandIn()
  await standIn.start(await freePort())
  return { url: `redis://127.0.0.1:${standIn.port}`, stop: () => standIn.stop() }
}

async function findOnPath(name: string, path: string): Promise<string | null> {
  for (const dir of path.split(delimiter).filter((entry) => entry !== '')) {
    const file = join(dir, name)
    const executable = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (executable) return file
  }
  return null
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}

/** Sends an inline PING and looks for +PONG. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1000 })
    const settle = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => socket.write('PING\r\n'))
    socket.once('data', (bytes) => settle(bytes.toString().startsWith('+PONG')))
    socket.once('timeout', () => settle(false))
    socket.once('error', () => settle(false))
    socket.once('close', () => settle(false))
  })
}

async function stop(child: ChildProcess): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (hasEnded(child)) return
    signalProcess(child.pid ?? 0, signal)
    await waitUntil(() => hasEnded(child), stopDeadlineMs)
  }
}
