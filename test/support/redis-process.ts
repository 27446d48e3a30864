// A redis-server that keeps its port while it is killed and started again, without anything that survives it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { pidFile } from '../../demo/leftovers.ts'
import { freePort } from '../../demo/ports.ts'
import { waitUntil } from '../../demo/process.ts'
import { giveToServers, serverUser } from '../../demo/server-user.ts'

const readyDeadlineMs = 5_000

export class RedisProcess {
  readonly port: number
  readonly #dir: string
  #child: ChildProcess | null = null

  private constructor(dir: string, port: number) {
    this.#dir = dir
    this.port = port
  }

  /** Its files go into a new directory `dir`. @throws when there is no redis-server on the PATH. */
  static async start(dir: string): Promise<RedisProcess> {
    await mkdir(dir, { mode: 0o700 })
    await giveToServers(dir)
    const redis = new RedisProcess(dir, await freePort())
    await redis.start()
    return redis
  }

  get running(): boolean {
    return this.#child !== null
  }

  async start(): Promise<void> {
    const options = `--bind 127.0.0.1 --port ${this.port} --appendonly no --dir ${this.#dir} --save`
    const child = spawn('redis-server', [...options.split(' '), ''], {
      ...serverUser(),
      cwd: this.#dir,
      stdio: 'ignore',
    })
    await once(child, 'spawn')
    this.#child = child
    child.once('exit', () => (this.#child = null))
    child.unref()
    await writeFile(join(this.#dir, pidFile), String(child.pid))
    if (!(await waitUntil(() => this.#answers(), readyDeadlineMs))) {
      throw new Error(`redis-server does not listen on port ${this.port}`)
    }
  }

  /** As if its machine had gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await waitUntil(() => !this.running, readyDeadlineMs)
  }

  #answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port: this.port })
      const settle = (answered: boolean) => {
        socket.destroy()
        resolve(answered)
      }
      socket.once('connect', () => settle(true))
      socket.once('error', () => settle(false))
    })
  }
}
