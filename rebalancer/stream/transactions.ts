// From the messages of a stream to whole transactions in commit order. What the server sends of a
// transaction before it has ended (streaming) is spooled; at its commit it is handed on as if it
// came now, without what was rolled back.
import type { Lsn } from '../../core/lsn.ts'
import {
  decodePgoutput,
  type PgoutputMessage,
  type PgoutputRelation,
  type PgoutputRow,
  type PgoutputTruncate,
} from '../../wire/pgoutput.ts'
import { violation } from '../../wire/reader.ts'
import type { SourceConnection } from './source-connection.ts'
import { Spool } from './spool.ts'

/** Who is told of transactions: begin, changes, commit; never two at once. */
export type TransactionSink = {
  begin(finalLsn: Lsn): void
  /** The open transaction was made elsewhere, under that replication origin. */
  origin(name: string): void
  relation(message: PgoutputRelation): void
  change(message: PgoutputRow | PgoutputTruncate): void
  commit(endLsn: Lsn): void
  /** Whatever was committed before `position` has been handed on. */
  advance(position: Lsn): void
  /** The server waits for an answer. */
  asked(): void
  /** Null, or what has to be waited for before the next call. */
  room(): Promise<void> | null
}

export type SpoolOptions = { readonly dir: string; readonly memoryBytesMax: number }

type Streamed = { readonly spool: Spool; readonly aborted: Set<number> }

const stopCode = 0x45

/** The messages of one connection; `run` ends with its loss. */
export class TransactionAssembler {
  readonly #source: SourceConnection
  readonly #sink: TransactionSink
  readonly #spools: SpoolOptions
  readonly #streamed = new Map<number, Streamed>()
  #chunk: Streamed | null = null
  #open = false

  constructor(source: SourceConnection, sink: TransactionSink, spools: SpoolOptions) {
    this.#source = source
    this.#sink = sink
    this.#spools = spools
  }

  /** Hands on until the stream is lost. @throws why it was, and 08P01 for what is no message. */
  async run(): Promise<never> {
    try {
      for (;;) {
        const frame = this.#source.next()
        if (frame === undefined) {
          await this.#source.more()
          continue
        }
        if (frame.kind === 'keepalive') {
          // Inside of a transaction it says nothing about that one.
          if (!this.#open) this.#sink.advance(frame.walEnd)
          if (frame.replyRequested) this.#sink.asked()
        } else {
          const wait = this.#message(frame.payload)
          if (wait !== null) await wait
        }
        const room = this.#sink.room()
        if (room !== null) await room
      }
    } finally {
      for (const { spool } of this.#streamed.values()) await spool.close()
      this.#streamed.clear()
    }
  }

  /** Null, or what has to be waited for before the next message. */
  #message(payload: Uint8Array): Promise<void> | null {
    if (this.#chunk !== null && payload[0] !== stopCode) return this.#chunk.spool.append(payload)
    const message = decodePgoutput(payload, this.#chunk !== null)
    switch (message.kind) {
      case 'begin':
        if (this.#open) throw violation('a transaction inside of another')
        this.#open = true
        this.#sink.begin(message.finalLsn)
        return null
      case 'commit':
        if (!this.#open) throw violation('a commit without a transaction')
        this.#open = false
        this.#sink.commit(message.endLsn)
        return null
      case 'streamStart':
        this.#chunk = this.#streamedOf(message.xid)
        return null
      case 'streamStop':
        this.#chunk = null
        return null
      case 'streamAbort':
        return this.#abort(message.xid, message.subxid)
      case 'streamCommit':
        return this.#replay(message)
      case 'message':
        // Outside of transactions it stands in the log where it was written.
        if (!this.#open) this.#sink.advance(message.lsn)
        return null
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        if (!this.#open) throw violation('a change without a transaction')
        this.#handOn(message)
        return null
      case 'origin':
      case 'relation':
      case 'type':
        this.#handOn(message)
        return null
    }
  }

  #handOn(message: PgoutputMessage): void {
    switch (message.kind) {
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        return this.#sink.change(message)
      case 'relation':
        return this.#sink.relation(message)
      case 'origin':
        return this.#sink.origin(message.name)
      case 'type':
      case 'message':
        return
      default:
        throw violation(`"${message.kind}" inside of a transaction`)
    }
  }

  #streamedOf(xid: number): Streamed {
    const known = this.#streamed.get(xid)
    if (known !== undefined) return known
    const { dir, memoryBytesMax } = this.#spools
    const streamed = { spool: new Spool(dir, memoryBytesMax), aborted: new Set<number>() }
    this.#streamed.set(xid, streamed)
    return streamed
  }

  #abort(xid: number, subxid: number): Promise<void> | null {
    const streamed = this.#streamed.get(xid)
    if (streamed === undefined) return null
    if (xid !== subxid) {
      streamed.aborted.add(subxid)
      return null
    }
    this.#streamed.delete(xid)
    return streamed.spool.close()
  }

  async #replay(commit: Extract<PgoutputMessage, { kind: 'streamCommit' }>): Promise<void> {
    const { spool, aborted } = this.#streamedOf(commit.xid)
    this.#sink.begin(commit.finalLsn)
    for await (const payload of spool.read()) {
      const message = decodePgoutput(payload, true)
      // A table is described once, also for what comes after the rollback of the subtransaction
      // that came first.
      const dropped = 'xid' in message && message.kind !== 'relation' && aborted.has(message.xid)
      if (!dropped) this.#handOn(message)
      const room = this.#sink.room()
      if (room !== null) await room
    }
    this.#sink.commit(commit.endLsn)
    this.#streamed.delete(commit.xid)
    await spool.close()
  }
}
