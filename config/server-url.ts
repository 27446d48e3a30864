// postgres:// URLs of shards, with what this version can really do with them.
import { z } from 'zod'
import { complain } from './kinds.ts'
import { type TlsModeSetting, tlsModeOf } from './tls-settings.ts'

/** Where a server listens (a host with a slash: the directory of its Unix socket) and, when its URL says so, how to log in there. */
export type ServerAddress = {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string | null
  readonly password: string | null
  /** `sslmode` of the URL; null: that of `tls.server.mode`. */
  readonly tlsMode: TlsModeSetting | null
}

/** `postgres://[user[:password]@]host[:port]/database`. Complaints never repeat the URL's password. */
export function serverUrl() {
  const schema = z.unknown().transform((input, context): ServerAddress => {
    if (input === undefined) return complain(context, 'is missing', 'add it')
    if (typeof input !== 'string') return complain(context, 'is not a postgres:// URL', shape)
    const parsed = parseServerUrl(input)
    return 'wrong' in parsed ? complain(context, parsed.wrong, parsed.remedy) : parsed.address
  })
  return { schema, values: '`postgres://…` URL' }
}

type Parsed =
  | { readonly address: ServerAddress }
  | { readonly wrong: string; readonly remedy: string }

function parseServerUrl(input: string): Parsed {
  const url = URL.canParse(input) ? new URL(input) : null
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    return { wrong: 'is not a postgres:// URL', remedy: shape }
  }
  let tlsMode: TlsModeSetting | undefined
  for (const [name, value] of url.searchParams) {
    if (name !== 'sslmode') {
      const remedy = 'remove it; certificates are named under tls.server'
      return { wrong: `unknown parameter "${name}" in the URL`, remedy }
    }
    tlsMode = tlsModeOf(value)
    if (tlsMode !== undefined) continue
    const remedy = 'write disable, allow, prefer, require, verify-ca or verify-full'
    return { wrong: `sslmode=${value} is no mode of TLS`, remedy }
  }
  if (url.hash !== '') return { wrong: 'a URL has no "#" part', remedy: 'write %23 for "#"' }
  const parts = [url.hostname, url.pathname.slice(1), url.username, url.password].map(decoded)
  const [host, database, user, password] = parts
  if (host === undefined || database === undefined || user === undefined) return badPercent
  if (password === undefined) return badPercent
  if (host === '') {
    const remedy = 'name a host, or the directory of a Unix socket with %2F for "/"'
    return { wrong: 'the URL names no host', remedy }
  }
  if (database === '' || database.includes('/')) {
    return { wrong: 'the URL names no database', remedy: `write it like ${example}` }
  }
  const address = {
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 5432 : Number(url.port),
    database,
    user: user === '' ? null : user,
    password: password === '' ? null : password,
    tlsMode: tlsMode ?? null,
  }
  return { address }
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

const example = 'postgres://10.0.0.1:5432/app'
const shape = `write it like ${example}`
const badPercent: Parsed = { wrong: 'bad %-escape in the URL', remedy: 'write %25 for "%"' }
