// A Redis that keeps its port while it is killed and started again, without anything that survives it: redis-server
// where it is installed, else the stand-in.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { pidFile } from '../../demo/leftovers.ts'
import { freePort } from '../../demo/ports.ts'
import { waitUntil } from '../../demo/process.ts'
import { RedisStandIn } from '../../demo/redis-stand-in/server.ts'
import { giveToServers, serverUser } from '../../demo/server-user.ts'
import { hasRedisServer } from '../catalog/redis-servers.ts'

const program = 'redis-server'
const readyDeadlineMs = 5_000

export class RedisProcess {
  readonly port: number
  readonly #dir: string
  #child: ChildProcess | null = null
  #standIn: RedisStandIn | null = null

  private constructor(dir: string, port: number) {
    this.#dir = dir
    this.port = port
  }

  /** Its files go into a new directory `dir`. */
  static async start(dir: string): Promise<RedisProcess> {
    await mkdir(dir, { mode: 0o700 })
    await giveToServers(dir)
    const redis = new RedisProcess(dir, await freePort())
    await redis.start()
    return redis
  }

  get running(): boolean {
    return this.#child !== null || this.#standIn !== null
  }

  async start(): Promise<void> {
    if (hasRedisServer()) await this.#startProgram()
    else {
      this.#standIn = new RedisStandIn()
      await this.#standIn.start(this.port)
    }
  }

  /** As if its machine had gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#standIn?.stop()
    this.#standIn = null
    await waitUntil(() => !this.running, readyDeadlineMs)
  }

  async #startProgram(): Promise<void> {
    const options = `--bind 127.0.0.1 --port ${this.port} --appendonly no --dir ${this.#dir} --save`
    const child = spawn(program, [...options.split(' '), ''], {
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
