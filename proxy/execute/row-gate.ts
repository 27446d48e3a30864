// Rows of one statement that come from several servers: they may not overtake their header, which one of the
// servers sends for all.
import type { ServerConnection } from '../../pool/server-connection.ts'

// A server that is this far ahead of the header is not read until it has come.
const heldBytesMax = 256 * 1024

export class RowGate {
  readonly #forward: (bytes: Uint8Array) => void
  readonly #paused = new Set<ServerConnection>()
  #held: Uint8Array[] | null = []
  #heldBytes = 0

  constructor(forward: (bytes: Uint8Array) => void) {
    this.#forward = forward
  }

  /** Forwards a message of `server` now, or once the header is out. */
  pass(bytes: Uint8Array, server: ServerConnection): void {
    if (this.#held === null) return this.#forward(bytes)
    this.#held.push(Uint8Array.from(bytes))
    this.#heldBytes += bytes.length
    if (this.#heldBytes <= heldBytesMax) return
    this.#paused.add(server)
    server.pauseReading(this)
  }

  /** The header is out. */
  open(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const bytes of held) this.#forward(bytes)
    this.#resume()
  }

  /** No header will come: what waits is dropped, servers are read to their end. */
  close(): void {
    this.#held = null
    this.#resume()
  }

  #resume(): void {
    for (const server of this.#paused) server.resumeReading(this)
    this.#paused.clear()
  }
}
