// Connections of `pg` to servers that may want TLS. Everything that they need to know stands in the URL, under libpq's
// names for it, so that a URL can be handed on as it is; libpq's modes are followed here, which `pg` alone does not.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { Client, type ClientConfig, DatabaseError } from 'pg'

/** How a server is reached; paths of PEM files. */
export type UrlTls = {
  readonly mode: 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
  readonly protocols: 'secure' | 'tlsv1.2' | 'tlsv1.3'
  readonly ciphers: string | null
}

/** What of a ClientConfig the URL decides. */
export type UrlConfig = Pick<ClientConfig, 'connectionString' | 'ssl'>

const connectTimeoutMs = 10_000

/** The query of a URL that says so, with its question mark; empty for mode disable. */
export function tlsQuery(tls: UrlTls): string {
  const { mode, ca, cert, key, protocols, ciphers } = tls
  if (mode === 'disable') return ''
  const query = new URLSearchParams({ sslmode: mode })
  if (ca !== null) query.set('sslrootcert', ca)
  if (cert !== null) query.set('sslcert', cert)
  if (key !== null) query.set('sslkey', key)
  if (protocols === 'tlsv1.3') query.set('ssl_min_protocol_version', 'TLSv1.3')
  if (protocols === 'tlsv1.2') query.set('ssl_max_protocol_version', 'TLSv1.2')
  // libpq has no name for it.
  if (ciphers !== null) query.set('sslciphers', ciphers)
  return `?${query.toString()}`
}

/**
 * What `open` gives with the first way to connect that the URL's sslmode allows and the server takes.
 * @throws what `open` throws, or the system's error for a file of the URL
 */
export async function connectByUrl<T>(
  text: string,
  open: (config: UrlConfig) => Promise<T>,
): Promise<T> {
  const url = new URL(text)
  const tls = tlsOfUrl(url)
  for (const name of tlsParameters) url.searchParams.delete(name)
  const host = decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1')
  const connectionString = url.href
  return await connectByTls(tls, host, (ssl) => open({ connectionString, ssl }))
}

/** The same with what the URL would say. */
export async function connectByTls<T>(
  tls: UrlTls,
  host: string,
  open: (ssl: false | ConnectionOptions) => Promise<T>,
): Promise<T> {
  // What stays on this machine is not encrypted.
  const mode = host.startsWith('/') ? 'disable' : tls.mode
  const encrypted = () => open(handshakeOf(tls, host))
  switch (mode) {
    case 'disable':
      return await open(false)
    case 'allow':
      return await open(false).catch((error: unknown) => {
        if (isOfEncryption(error)) return encrypted()
        throw error
      })
    case 'prefer':
      return await encrypted().catch((error: unknown) => {
        if (isOfEncryption(error)) return open(false)
        throw error
      })
    case 'require':
    case 'verify-ca':
    case 'verify-full':
      return await encrypted()
  }
}

/** Connects, runs `use`, and closes the connection whatever happens. */
export async function withServer<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = await connectByUrl(url, async (config) => {
    const opened = new Client({ ...config, connectionTimeoutMillis: connectTimeoutMs })
    // A server that goes away fails the query at work; without a listener it would end our process too.
    opened.on('error', () => undefined)
    await opened.connect()
    return opened
  })
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

const tlsParameters = [
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'ssl_min_protocol_version',
  'ssl_max_protocol_version',
  'sslciphers',
] as const

/** What a URL says of TLS; without a word of it, mode disable. */
export function tlsOfUrl({ searchParams: query }: URL): UrlTls {
  const mode = query.get('sslmode') ?? 'disable'
  return {
    mode: isMode(mode) ? mode : 'verify-full',
    ca: query.get('sslrootcert'),
    cert: query.get('sslcert'),
    key: query.get('sslkey'),
    protocols:
      query.get('ssl_min_protocol_version') === 'TLSv1.3'
        ? 'tlsv1.3'
        : query.get('ssl_max_protocol_version') === 'TLSv1.2'
          ? 'tlsv1.2'
          : 'secure',
    ciphers: query.get('sslciphers'),
  }
}

function isMode(word: string): word is UrlTls['mode'] {
  return ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'].includes(word)
}

function handshakeOf(tls: UrlTls, host: string): ConnectionOptions {
  const { mode, ca, cert, key, protocols, ciphers } = tls
  // As in libpq, whoever names authorities wants them to count.
  const verified = mode.startsWith('verify') || (mode === 'require' && ca !== null)
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: verified,
    ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
    ...(ca === null ? {} : { ca: readFileSync(ca) }),
    ...(cert === null ? {} : { cert: readFileSync(cert) }),
    ...(key === null ? {} : { key: readFileSync(key) }),
    minVersion: protocols === 'tlsv1.3' ? 'TLSv1.3' : 'TLSv1.2',
    maxVersion: protocols === 'tlsv1.2' ? 'TLSv1.2' : 'TLSv1.3',
    ...(ciphers === null ? {} : { ciphers }),
  }
}

/** The server has no TLS, its handshake failed, or its rules refuse logins with it, or without it. */
function isOfEncryption(error: unknown): boolean {
  if (error instanceof DatabaseError) return error.code === '28000'
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  return /SSL connection/.test(error.message) || /^ERR_(?:SSL|TLS)/.test(code)
}
