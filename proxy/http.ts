// The HTTP port: is it alive, is it ready, what does it count.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from 'prom-client'

export type HttpOptions = {
  readonly host: string
  readonly port: number
  readonly registry: Registry
  /** What keeps the proxy from serving; empty when it is ready. */
  readonly notReady: () => readonly string[]
}

export type HttpPort = { readonly port: number; close(): Promise<void> }

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
    if (path === '/readyz') {
      const missing = options.notReady()
      return missing.length === 0
        ? answer(200, 'ready\n')
        : answer(503, missing.map((reason) => `${reason}\n`).join(''))
    }
    if (path !== '/metrics') return answer(404, 'try /metrics, /livez or /readyz\n')
    options.registry.metrics().then(
      (text) => answer(200, text, options.registry.contentType),
      (error: unknown) => answer(500, `${String(error)}\n`),
    )
  })
  server.headersTimeout = 10_000
  server.requestTimeout = 30_000
  await listen(server, options)
  const address = server.address() as AddressInfo
  return {
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, { host, port }: HttpOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => resolve())
  })
}
