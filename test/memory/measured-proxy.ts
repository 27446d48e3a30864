// A proxy in a process of its own, whose memory can be asked for after everything that is garbage has been collected.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Place } from '../support/stack.ts'
import type { ChildOrder } from './child.ts'

/** What the proxy holds now. */
type Held = {
  /** Objects of JavaScript, in bytes. */
  readonly heapBytes: number
  /** Buffers, wherever they are, in bytes. */
  readonly outsideBytes: number
  readonly residentBytes: number
  readonly leased: number
  readonly waiting: number
  readonly sessions: number
}

export class MeasuredProxy {
  readonly place: Place
  readonly shardUrls: readonly string[]
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, place: Place, shardUrls: readonly string[]) {
    this.#child = child
    this.place = place
    this.shardUrls = shardUrls
  }

  static async start(order: ChildOrder): Promise<MeasuredProxy> {
    const path = new URL('child.ts', import.meta.url).pathname
    const child = fork(path, [JSON.stringify(order)], {
      execArgv: [
        '--expose-gc',
        // As bin/ringfence does.
        '--max-semi-space-size=16',
        // Code that nobody runs any more would be let go of in the middle, 5 MiB of it: more than what is measured.
        '--no-flush-bytecode',
      ],
    })
    const told: Promise<unknown[]> = once(child, 'message')
    const ended = once(child, 'exit').then(() => {
      throw new Error('the proxy has ended before it was ready')
    })
    const [ready] = await Promise.race([told, ended])
    ended.catch(() => undefined)
    if (!isReady(ready)) throw new Error('the proxy said something else than where it is')
    return new MeasuredProxy(child, ready.place, ready.shardUrls)
  }

  /** What is left when everything that is garbage has been collected. */
  held(): Promise<Held> {
    return this.#ask('held')
  }

  /** Garbage included. */
  heldAsItIs(): Promise<Held> {
    return this.#ask('heldAsItIs')
  }

  async #ask(question: 'held' | 'heldAsItIs'): Promise<Held> {
    const answer: Promise<unknown[]> = once(this.#child, 'message')
    this.#child.send(question)
    const [held] = await answer
    if (!isHeld(held)) throw new Error('the proxy said something else than what it holds')
    return held
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.send('close')
    await ended
  }
}

/** Bytes of JavaScript and its buffers. */
export function keptBytes({ heapBytes, outsideBytes }: Held): number {
  return heapBytes + outsideBytes
}

type Ready = { readonly place: Place; readonly shardUrls: readonly string[] }

function isReady(told: unknown): told is Ready {
  return typeof told === 'object' && told !== null && 'place' in told && 'shardUrls' in told
}

function isHeld(told: unknown): told is Held {
  return typeof told === 'object' && told !== null && 'heapBytes' in told
}
