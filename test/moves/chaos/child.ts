// A program of ours as a process of its own that may be killed at any instant: what it writes goes to a file, and its
// process id to where the run's watchdog finds it.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pidFile } from '../../../demo/leftovers.ts'
import { waitUntil } from '../../../demo/process.ts'

export type ChildOptions = {
  /** Of the run's; the arguments name a file in it. */
  readonly dir: string
  readonly argv: readonly string[]
  readonly logFile: string
}

const deathDeadlineMs = 10_000

/** Runs from `start` until it ends or is killed. */
export class Child {
  readonly #process: ChildProcess
  readonly #options: ChildOptions
  readonly #logStart: number
  #code: number | string | null = null
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>

  private constructor(process: ChildProcess, options: ChildOptions, logStart: number) {
    this.#process = process
    this.#options = options
    this.#logStart = logStart
    this.ended = new Promise((resolve) => {
      const end = (code: number | string) => {
        this.#code ??= code
        resolve(this.#code)
      }
      process.once('exit', (code, signal) => end(code ?? signal ?? 'unknown'))
      process.once('error', (error) => end(error.message))
    })
  }

  static async start(options: ChildOptions): Promise<Child> {
    const { dir, argv, logFile } = options
    await mkdir(dir, { recursive: true })
    await using log = await open(logFile, 'a')
    const { size } = await log.stat()
    const child = spawn(process.execPath, [...argv], {
      stdio: ['ignore', log.fd, log.fd],
      env: { ...process.env, REDIS_URL: '', NO_COLOR: '1' },
    })
    const started = new Child(child, options, size)
    await writeFile(join(dir, pidFile), String(child.pid ?? 0))
    return started
  }

  get running(): boolean {
    return this.#code === null
  }

  /** What it has written up to now. */
  async output(): Promise<string> {
    const all = await readFile(this.#options.logFile)
    return all.subarray(this.#logStart).toString()
  }

  /** False when it ended, or `deadlineMs` passed, without that. */
  async hasWritten(pattern: RegExp, deadlineMs: number): Promise<boolean> {
    let found = false
    const look = async () => {
      found = pattern.test(await this.output())
      return found || !this.running
    }
    await waitUntil(look, deadlineMs)
    return found
  }

  /** SIGSTOP and SIGCONT: it does nothing meanwhile and does not know of it afterwards. */
  freeze(): void {
    this.#process.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process.kill('SIGCONT')
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.running) this.#process.kill('SIGKILL')
    await waitUntil(() => !this.running, deathDeadlineMs)
  }
}
