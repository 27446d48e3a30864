// The write side of a socket: messages are gathered in one scratch buffer and leave in one write per
// turn of the event loop. System calls, not our own code, are what a pooler spends its time on.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { Views } from '../wire/views.ts'

/** Of one scratch buffer. */
export const scratchBytes = 16 * 1024
/** 16 MiB: as many sockets as are written to in a busy turn. */
const scratchesMax = 1024
/** A TLS socket holds on to what it is given even where the system takes it at once: little is copied instead. */
const copiedBytesMax = 4096

/** Flushes every outbox that was written to, once at the end of the current turn of the event loop. */
export class FlushTurn {
  #count = 0
  #dirty: Outbox[] = []
  #scheduled = false
  #beganMs = 0
  readonly #scratches: Views[] = []

  /** Monotonic milliseconds, read once for all that a turn writes: for counting, not for deadlines. */
  nowMs(): number {
    return this.#scheduled ? this.#beganMs : performance.now()
  }

  /** Notes that `outbox` has bytes to send; called once per outbox and turn. */
  add(outbox: Outbox): void {
    this.#dirty.push(outbox)
    this.passes()
  }

  /** Turns of the event loop so far, as far as anything was written in them or somebody has called `passes`. */
  get count(): number {
    return this.#count
  }

  /** This turn of the event loop counts, though perhaps nothing is written in it. */
  passes(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#beganMs = performance.now()
    setImmediate(() => this.#run())
  }

  /** A buffer for what one outbox gathers, or one statement is kept in: who is silent has none. */
  take(): Views {
    return this.#scratches.pop() ?? new Views(Buffer.allocUnsafeSlow(scratchBytes))
  }

  /** Takes back a buffer that nobody reads any more. */
  giveBack(scratch: Views): void {
    if (this.#scratches.length < scratchesMax) this.#scratches.push(scratch)
  }

  #run(): void {
    this.#scheduled = false
    this.#count += 1
    const dirty = this.#dirty
    this.#dirty = []
    for (const outbox of dirty) outbox.flush()
  }
}

/** Outgoing bytes of one socket. `append` copies, so callers may reuse their buffers at once. */
export class Outbox {
  readonly #socket: Socket
  readonly #turn: FlushTurn
  readonly #encrypted: boolean
  #scratch: Views | null = null
  #used = 0
  #queued = false

  constructor(socket: Socket, turn: FlushTurn) {
    this.#socket = socket
    this.#turn = turn
    this.#encrypted = socket instanceof TLSSocket
  }

  /** Bytes accepted but not yet taken over by the operating system. */
  get pendingBytes(): number {
    return this.#used + this.#socket.writableLength
  }

  append(bytes: Uint8Array): void {
    if (bytes.length > scratchBytes - this.#used) this.#write()
    if (bytes.length > scratchBytes) {
      this.#socket.write(Buffer.from(bytes))
      return
    }
    this.#scratch ??= this.#turn.take()
    this.#scratch.buffer.set(bytes, this.#used)
    this.#used += bytes.length
    if (this.#queued) return
    this.#queued = true
    this.#turn.add(this)
  }

  /** Sends what was gathered; called by the turn, and before the socket is closed. */
  flush(): void {
    this.#queued = false
    this.#write()
  }

  #write(): void {
    const scratch = this.#scratch
    if (this.#used === 0 || scratch === null) return
    const chunk = scratch.first(this.#used)
    this.#used = 0
    this.#scratch = null
    if (!this.#socket.destroyed && !this.#taken(chunk)) return
    this.#turn.giveBack(scratch)
  }

  /** False when the socket still reads those bytes: they are queued there. */
  #taken(chunk: Buffer): boolean {
    if (this.#encrypted && chunk.length <= copiedBytesMax) {
      this.#socket.write(Buffer.from(chunk))
      return true
    }
    this.#socket.write(chunk)
    return this.#socket.writableLength === 0
  }
}
