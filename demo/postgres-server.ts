// One real PostgreSQL server: a directory, a port, and a postmaster that is our child process. The
// directory holds data/, log, password and, when its path is short enough, the Unix socket's.
// States: stopped (#child is null) → start() → running → stop(), kill() or a crash → stopped.
import { spawn, type ChildProcess } from 'node:child_process'
import { access, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { assert } from '../core/assert.ts'
import type { Installation } from './installation.ts'
import { freePort, isFree } from './ports.ts'
import { readPostmasterFile } from './postmaster-file.ts'
import { childrenOf, processIdentity, signalProcess, waitUntil } from './process.ts'
import { copyStandby } from './replica.ts'
import { superuser } from './roles.ts'
import { giveToServers, makeServerDirectory, serverUser } from './server-user.ts'
import { baseSettings, settingsText, type Settings } from './settings.ts'
import { copyDirectory, findTemplate, settingsFile } from './template.ts'

/** What every server needs. */
export type ServerOptions = {
  /** Kept from an earlier run when it has a server already; its parent must exist. */
  readonly dir: string
  /** A free one when missing. */
  readonly port?: number
  /** Over those of demo/settings.ts. */
  readonly settings?: Settings
}

/** A replica takes its primary's installation. */
export type PrimaryOptions = ServerOptions & { readonly installation: Installation }

const startDeadlineMs = 60_000
const startAttemptsMax = 8
/** sun_path of unix(7) is 108 bytes with its closing NUL. */
const socketPathBytesMax = 107

type Wiring = {
  readonly installation: Installation
  readonly dir: string
  readonly settings: Settings
  readonly password: string
  readonly primary: PostgresServer | null
}

/** A primary, or the streaming replica of one. */
export class PostgresServer {
  readonly #wiring: Wiring
  #port: number
  /** True once somebody may know the port: from then on it does not change. */
  #portSettled: boolean
  #child: ChildProcess | null = null

  private constructor(wiring: Wiring, port: number, portSettled: boolean) {
    this.#wiring = wiring
    this.#port = port
    this.#portSettled = portSettled
  }

  /** A primary, not started yet. Throws when `dir` holds one of another major version. */
  static async create(options: PrimaryOptions): Promise<PostgresServer> {
    const { installation, dir } = options
    if (!(await hasServer(dir))) {
      const template = await findTemplate(installation)
      await fillDirectory(dir, template.password, (to) => copyDirectory(template.dataDir, to))
    }
    return PostgresServer.#open(options, installation, null)
  }

  /**
   * A streaming replica of `primary`, not started yet; made from a running or a stopped primary.
   */
  static async createReplica(
    primary: PostgresServer,
    options: ServerOptions,
  ): Promise<PostgresServer> {
    if (!(await hasServer(options.dir))) {
      const { dataDir, password } = primary
      const source = { dataDir, url: primary.running ? primary.url() : null }
      await fillDirectory(options.dir, password, (to) => copyStandby(source, to))
    }
    return PostgresServer.#open(options, primary.#wiring.installation, primary)
  }

  static async #open(
    options: ServerOptions,
    installation: Installation,
    primary: PostgresServer | null,
  ): Promise<PostgresServer> {
    const { dir, settings = {} } = options
    const major = (await readFile(join(dir, 'data', 'PG_VERSION'), 'utf8')).trim()
    if (major !== String(installation.version)) {
      throw new Error(`"${dir}" belongs to PostgreSQL ${major}, not ${installation.version}`)
    }
    const password = await readFile(join(dir, 'password'), 'utf8')
    const port = options.port ?? (await earlierPort(dir)) ?? (await freePort())
    const wiring = { installation, dir, settings, password, primary }
    return new PostgresServer(wiring, port, options.port !== undefined)
  }

  get dir(): string {
    return this.#wiring.dir
  }

  get dataDir(): string {
    return join(this.dir, 'data')
  }

  /** Of the superuser. */
  get password(): string {
    return this.#wiring.password
  }

  /** Final once the server has been started. */
  get port(): number {
    return this.#port
  }

  /** Where the Unix socket is; null when the path would be too long for one. */
  get socketDir(): string | null {
    const socket = join(this.dir, 'socket', '.s.PGSQL.65535')
    return Buffer.byteLength(socket) > socketPathBytesMax ? null : join(this.dir, 'socket')
  }

  get running(): boolean {
    return this.#child !== null
  }

  /** Of the postmaster; null while stopped. */
  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** True when its files are as a shutdown left them; false while it runs and after a crash. */
  async isCleanlyStopped(): Promise<boolean> {
    return (await readPostmasterFile(this.dataDir)) === null
  }

  /** For the superuser. */
  url(database = 'postgres'): string {
    return `postgres://${superuser}:${this.password}@127.0.0.1:${this.port}/${database}`
  }

  /**
   * Starts and waits until connections are accepted (a replica: read-only ones); recovers after a
   * crash.
   */
  async start(): Promise<void> {
    assert(!this.running, `the server in "${this.dir}" is stopped`)
    for (let attempt = 1; ; attempt += 1) {
      const failure = await this.#launch()
      if (failure === null) break
      if (attempt === startAttemptsMax || !(await this.#mayRetry(failure))) {
        throw new Error(`PostgreSQL in "${this.dir}" did not start:\n${failure.trim()}`)
      }
    }
    this.#portSettled = true
  }

  /**
   * `fast` ends all sessions and writes a checkpoint, and becomes `immediate` after 1.5 s;
   * `immediate` is for what is thrown away next: nothing is written and the next start recovers.
   */
  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    if (mode === 'fast' && (await this.#signal('SIGINT', 1500))) return
    if (await this.#signal('SIGQUIT', 1000)) return
    await this.kill()
  }

  /**
   * What losing the machine looks like to everybody else: the postmaster and its children are gone
   * at once.
   */
  async kill(): Promise<void> {
    const pid = this.pid
    if (pid === null) return
    const processes = [pid, ...childrenOf(pid)]
    for (const each of processes) signalProcess(each, 'SIGKILL')
    const gone = () => !this.running && processes.every((each) => processIdentity(each) === null)
    assert(await waitUntil(gone, 5000), `the server in "${this.dir}" dies when it is killed`)
  }

  /** Stops fast and starts again on the same port. */
  async restart(): Promise<void> {
    await this.stop('fast')
    await this.start()
  }

  async #signal(signal: NodeJS.Signals, deadlineMs: number): Promise<boolean> {
    if (this.pid !== null) signalProcess(this.pid, signal)
    return waitUntil(() => !this.running, deadlineMs)
  }

  /** Null when the server is ready, else what it wrote to its log. */
  async #launch(): Promise<string | null> {
    await this.#writeSettings()
    const logFile = join(this.dir, 'log')
    await using log = await open(logFile, 'a', 0o600)
    const { size: logStart } = await log.stat()
    const binary = join(this.#wiring.installation.binDir, 'postgres')
    const child = spawn(binary, ['-D', this.dataDir], {
      ...serverUser(),
      cwd: this.dir,
      env: { PATH: process.env['PATH'], LC_MESSAGES: 'C' },
      stdio: ['ignore', log.fd, log.fd],
      // A group of its own: Ctrl-C is for us, who stop the proxy before the servers.
      detached: true,
    })
    this.#adopt(child)
    const settled = async () => !this.running || (await this.#isReady())
    if (!(await waitUntil(settled, startDeadlineMs))) await this.kill()
    if (this.running) return null
    return (await readFile(logFile)).subarray(logStart).toString() || 'it could not be executed'
  }

  #adopt(child: ChildProcess): void {
    const forget = () => {
      if (this.#child === child) this.#child = null
    }
    this.#child = child
    child.once('exit', forget)
    child.once('error', forget)
    // A server alone does not keep our process alive: the watchdog of its run stops it.
    child.unref()
  }

  async #isReady(): Promise<boolean> {
    const file = await readPostmasterFile(this.dataDir)
    return file !== null && file.pid === this.pid && file.status === 'ready'
  }

  async #mayRetry(failure: string): Promise<boolean> {
    if (failure.includes('shared memory block')) {
      // Processes of a killed server are still ending.
      await delay(100)
      return true
    }
    if (this.#portSettled || (await isFree(this.#port))) return false
    this.#port = await freePort()
    return true
  }

  async #writeSettings(): Promise<void> {
    const { installation, settings, password, primary, dir } = this.#wiring
    if (this.socketDir !== null) await mkdir(this.socketDir, { recursive: true, mode: 0o700 })
    if (this.socketDir !== null) await giveToServers(this.socketDir)
    const conninfo = `host=127.0.0.1 port=${primary?.port} user=${superuser} password=${password}`
    const text = settingsText({
      ...baseSettings(installation),
      ...settings,
      port: this.#port,
      unix_socket_directories: this.socketDir ?? '',
      ...(primary === null ? {} : { primary_conninfo: conninfo }),
    })
    const path = join(dir, 'data', settingsFile)
    await writeFile(path, text, { mode: 0o600 })
    await giveToServers(path)
  }
}

async function hasServer(dir: string): Promise<boolean> {
  return access(join(dir, 'data')).then(
    () => true,
    () => false,
  )
}

/** `data` appears last, under its own name: a directory that has it is whole. */
async function fillDirectory(
  dir: string,
  password: string,
  fill: (dataDir: string) => Promise<void>,
): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  await makeServerDirectory(dir)
  await writeFile(join(dir, 'password'), password, { mode: 0o600 })
  await fill(join(dir, 'making'))
  await rename(join(dir, 'making'), join(dir, 'data'))
}

/** The port of the last start; null when there was none or somebody else listens there now. */
async function earlierPort(dir: string): Promise<number | null> {
  const text = await readFile(join(dir, 'data', settingsFile), 'utf8').catch(() => '')
  const port = Number(/^port = '(\d+)'$/m.exec(text)?.[1] ?? 0)
  return port > 0 && (await isFree(port)) ? port : null
}
