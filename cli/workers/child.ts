// A process of ours that was started from this one, with sockets it inherits and a channel to talk over.
import { type ChildProcess, spawn } from 'node:child_process'
import { Channel, type Offered } from './channel.ts'

/** Descriptors that a child inherits are numbered from here on, in the order given. */
export const firstInherited = 4

export type ChildOptions = {
  /** What Node.js runs, and its arguments. */
  readonly argv: readonly string[]
  /** Descriptors of this process that the child inherits. */
  readonly inherits: readonly number[]
  readonly env?: Readonly<Record<string, string>>
  /** What the child may call. */
  readonly offered: Offered
}

/** A child under way. */
export class Child {
  readonly channel: Channel
  /** Resolves when it has ended, with how: `exit code 1`, `SIGKILL`. */
  readonly ended: Promise<string>
  readonly #process: ChildProcess

  constructor({ argv, inherits, env = {}, offered }: ChildOptions) {
    this.#process = spawn(process.execPath, [...process.execArgv, ...argv], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...inherits],
      env: { ...process.env, ...env },
    })
    const child = this.#process
    this.channel = new Channel((message) => {
      // Without the callback a child that has just died would be an 'error' event.
      child.send(message, () => undefined)
    }, offered)
    child.on('message', (message) => this.channel.received(message))
    child.on('disconnect', () => this.channel.close())
    this.ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve(signal ?? `exit code ${code ?? 0}`))
      child.on('error', (error) => resolve(error.message))
    })
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** Lets it go on when this process ends. */
  release(): void {
    if (this.#process.connected) this.#process.disconnect()
    this.#process.unref()
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }
}
