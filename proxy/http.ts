// The HTTP port: is it alive, is it ready, what does it count.
import { createServer, type Server } from 'node:http'
import { descriptorOf } from './descriptor.ts'

export type HttpOptions = {
  readonly host: string
  readonly port: number
  /** Descriptor of a bound socket that is listened on in place of host and port. */
  readonly inherited?: number | null
  /** Text for /metrics, or for /metrics/workers: what each worker counts. */
  readonly metrics: (which: 'sum' | 'each') => Promise<string>
  readonly contentType: string
  /** What keeps the proxy from serving; empty when it is ready. */
  readonly notReady: () => readonly string[] | Promise<readonly string[]>
}

export type HttpPort = {
  readonly port: number
  /** For a process that takes over; null when there is none. */
  readonly descriptor: number | null
  close(): Promise<void>
}

const metricsPaths = new Map<string | undefined, 'sum' | 'each'>([
  ['/metrics', 'sum'],
  ['/metrics/workers', 'each'],
])

/** Starts listening. @throws the system's error when the address cannot be had. */
export async function startHttp(options: HttpOptions): Promise<HttpPort> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0]
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
      response.end(request.method === 'HEAD' ? undefined : body)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'GET only\n')
    if (path === '/livez') return answer(200, 'alive\n')
    const failed = (error: unknown) => answer(500, `${String(error)}\n`)
    if (path === '/readyz') {
      Promise.resolve(options.notReady()).then((missing) => {
        if (missing.length === 0) answer(200, 'ready\n')
        else answer(503, missing.map((reason) => `${reason}\n`).join(''))
      }, failed)
      return
    }
    const which = metricsPaths.get(path)
    if (which === undefined) return answer(404, 'try /metrics, /livez or /readyz\n')
    options.metrics(which).then((text) => answer(200, text, options.contentType), failed)
  })
  server.headersTimeout = 10_000
  server.requestTimeout = 30_000
  await listen(server, options)
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    descriptor: descriptorOf(server),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, { host, port, inherited = null }: HttpOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const where = inherited === null ? { host, port } : { fd: inherited }
    server.listen(where, () => resolve())
  })
}
