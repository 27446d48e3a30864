// The command as a person starts it: a process of its own, judged by what it prints and how it ends.
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const deadlineMs = 60_000

/** How a command ended. */
export type Ended = {
  /** Exit code, or the signal that ended it. */
  readonly code: number | string | null
  readonly stdout: string
  readonly stderr: string
}

/** A command under way. */
export class Program {
  readonly #child: ChildProcess
  readonly #exit: Promise<number | string | null>
  stdout = ''
  stderr = ''

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, [entry, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, REDIS_URL: '', ...env },
    })
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()))
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()))
    this.#exit = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(code ?? signal))
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** What `pattern` finds in what was printed; throws when the command ends without it. */
  async printed(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> {
    const endMs = performance.now() + deadlineMs
    for (;;) {
      const found = pattern.exec(this[stream])
      if (found !== null) return found
      if (this.#child.exitCode !== null || performance.now() > endMs) {
        throw new Error(`nothing like ${String(pattern)} in:\n${this.stdout}${this.stderr}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Waits for the end; kills it, and says so, when it does not come. */
  async ended(): Promise<Ended> {
    const killer = setTimeout(() => {
      this.stderr += `\nkilled after ${deadlineMs} ms\n`
      this.signal('SIGKILL')
    }, deadlineMs)
    const code = await this.#exit
    clearTimeout(killer)
    return { code, stdout: this.stdout, stderr: this.stderr }
  }
}

/** Runs a command to its end. */
export function runProgram(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  return new Program(args, env).ended()
}
