// The file descriptor on which a server listens: what a process inherits that takes its place.
import type { Server } from 'node:net'

/** Null while it does not listen, and on systems without descriptors. */
export function descriptorOf(server: Server): number | null {
  // libuv's handle; Node.js has no public name for it.
  const handle: unknown = Reflect.get(server, '_handle')
  if (typeof handle !== 'object' || handle === null) return null
  const fd: unknown = Reflect.get(handle, 'fd')
  return typeof fd === 'number' && fd >= 0 ? fd : null
}
