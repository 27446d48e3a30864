// The end of a client's connection: its last words go out first, but nobody waits for ever for who does not take them.
import type { Socket } from 'node:net'

// Node looks twice before it believes that nothing is taken.
const lingerMs = 3_000

/** Closes `socket` once all that was written is out, or when the client has taken nothing of it for some time. */
export function closeSoon(socket: Socket): void {
  socket.destroySoon()
  if (socket.writableLength > 0) socket.setTimeout(lingerMs, () => socket.destroy())
}
