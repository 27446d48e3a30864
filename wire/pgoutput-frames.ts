// What travels inside of CopyData while a server streams its log (manual, "Streaming Replication
// Protocol").
import { type Lsn, lsn } from '../core/lsn.ts'
import { Reader, violation } from './reader.ts'

/** `walEnd`: everything that was committed before it has been sent. `payload` is a view. */
export type ReplicationFrame =
  | {
      readonly kind: 'data'
      readonly walStart: Lsn
      readonly walEnd: Lsn
      readonly payload: Uint8Array
    }
  | { readonly kind: 'keepalive'; readonly walEnd: Lsn; readonly replyRequested: boolean }

/** What a standby status update says; `flushed` lets the server forget its log up to there. */
export type ReplicationStatus = {
  readonly received: Lsn
  readonly flushed: Lsn
  readonly replyRequested: boolean
}

const statusFrameBytes = 1 + 4 + 1 + 8 * 4 + 1
/** 2000-01-01 UTC, where PostgreSQL counts microseconds from. */
const epochMs = 946_684_800_000

/** Content of one CopyData message. @throws PgError 08P01 for another kind. */
export function decodeReplicationFrame(bytes: Uint8Array): ReplicationFrame {
  const r = new Reader(bytes, 0)
  const code = r.u8()
  if (code === 0x77) {
    const walStart = readLsn(r)
    const walEnd = readLsn(r)
    r.take(8)
    return { kind: 'data', walStart, walEnd, payload: r.take(r.remaining) }
  }
  if (code !== 0x6b) throw violation(`unknown replication message ${code}`)
  const walEnd = readLsn(r)
  r.take(8)
  const replyRequested = r.u8() === 1
  r.end()
  return { kind: 'keepalive', walEnd, replyRequested }
}

/** A standby status update as a whole CopyData frame. `nowMs`: Unix time. */
export function replicationStatus(status: ReplicationStatus, nowMs: number): Uint8Array {
  const frame = Buffer.alloc(statusFrameBytes)
  frame.writeUInt8(0x64, 0)
  frame.writeUInt32BE(statusFrameBytes - 1, 1)
  frame.writeUInt8(0x72, 5)
  frame.writeBigUInt64BE(status.received, 6)
  frame.writeBigUInt64BE(status.flushed, 14)
  // Applied: for us the same thing.
  frame.writeBigUInt64BE(status.flushed, 22)
  frame.writeBigInt64BE(BigInt(Math.max(0, Math.round(nowMs - epochMs))) * 1000n, 30)
  frame.writeUInt8(status.replyRequested ? 1 : 0, 38)
  return frame
}

function readLsn(r: Reader): Lsn {
  return lsn((BigInt(r.u32()) << 32n) | BigInt(r.u32()))
}
