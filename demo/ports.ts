// Ports for servers: below the range that the system hands out to outgoing connections, so that a
// server that is restarted finds its port still free.
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

const portMin = 15_000
const portMax = 30_000
const attemptsMax = 100

/** A port of 127.0.0.1 that nobody listened on just now. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const port = randomInt(portMin, portMax)
    if (await isFree(port)) return port
  }
  throw new Error(`no free port found between ${portMin} and ${portMax}`)
}

/** True when a server could listen on 127.0.0.1:`port` now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      probe.close(() => resolve(true))
    })
  })
}
