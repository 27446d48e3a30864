// One command to the admin console of a running proxy, over a connection of its own.
import { Socket } from 'node:net'
import { Client, type ClientConfig, DatabaseError } from 'pg'

/** Where a proxy listens for clients. */
export type ProxyAddress = {
  readonly host: string
  readonly port: number
  /** It speaks TLS; absent: it does not. */
  readonly encrypted?: boolean
}

/** A user of the file that is an admin. */
export type AdminLogin = { readonly user: string; readonly password: string }

/** What became of a command. */
export type Told =
  | { readonly kind: 'done' }
  /** It was never sent: nobody listens, or the login was refused. */
  | { readonly kind: 'unreached'; readonly reason: string }
  /** The proxy said no. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** It was sent and may be at work: the connection ended, or `signal` came first. */
  | { readonly kind: 'unanswered'; readonly reason: string }

/**
 * How its port is spoken to. Its certificate is proven by the password, which SCRAM binds to it: no authority need be
 * known for that.
 */
export function transportTo({ host, encrypted = false }: ProxyAddress): ClientConfig {
  if (!encrypted || host.startsWith('/')) return { ssl: false }
  return { ssl: { rejectUnauthorized: false }, enableChannelBinding: true }
}

/** Sends `command` and waits for the answer or for `signal`, whose reason it gives. Never throws. */
export async function tellProxy(
  address: ProxyAddress,
  { user, password }: AdminLogin,
  command: string,
  signal: AbortSignal,
): Promise<Told> {
  const socket = new Socket()
  const stop = () => socket.destroy()
  const { host, port } = address
  const client = new Client({
    ...transportTo(address),
    host,
    port,
    database: 'ringfence',
    user,
    password,
    application_name: 'ringfence',
    stream: () => socket,
  })
  client.on('error', stop)
  signal.addEventListener('abort', stop)
  let kind: 'unreached' | 'unanswered' = 'unreached'
  try {
    signal.throwIfAborted()
    await client.connect()
    kind = 'unanswered'
    await client.query(command)
    return { kind: 'done' }
  } catch (thrown) {
    if (signal.aborted) return { kind, reason: textOf(signal.reason) }
    const refused = kind === 'unanswered' && thrown instanceof DatabaseError
    return { kind: refused ? 'refused' : kind, reason: textOf(thrown) }
  } finally {
    signal.removeEventListener('abort', stop)
    socket.destroy()
  }
}

/** Node puts the attempts at several addresses into an AggregateError without a message. */
function textOf(thrown: unknown): string {
  const errors: readonly unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
  return errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ')
}
