// NotificationResponse, in both directions: what NOTIFY has sent, on its way to whoever listens.
import { backend } from './codes.ts'
import { readFrame } from './reader.ts'
import type { Writer } from './writer.ts'

/** What NOTIFY has sent; `pid` is the sender's server process. */
export type Notification = {
  readonly pid: number
  readonly channel: string
  /** Owned bytes, without the NUL at their end. */
  readonly payload: Uint8Array
}

/** NotificationResponse. */
export function writeNotification(w: Writer, { pid, channel, payload }: Notification): void {
  w.begin(backend.notificationResponse)
  w.i32(pid)
  w.cstring(channel)
  w.raw(payload)
  w.u8(0)
  w.end()
}

/** Fields of a NotificationResponse frame. */
export function decodeNotification(frame: Uint8Array): Notification {
  const r = readFrame(frame)
  const pid = r.i32()
  const channel = r.cstring()
  const payload = Uint8Array.from(r.cbytes())
  r.end()
  return { pid, channel, payload }
}
