// TLS towards servers, as libpq does it: whether it is asked for, and what the server has to prove. The files can be read
// again at any time; connections that are open keep what they were opened with.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { type ConnectionOptions, createSecureContext, type SecureContext } from 'node:tls'
import type { ChannelBinding } from './server-login.ts'

/** As libpq's sslmode. */
export type ServerTlsMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

/** Paths of PEM files; `ca` is there where the mode verifies, `key` with `cert`. */
export type ServerTlsOptions = {
  readonly mode: ServerTlsMode
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
  readonly protocols: 'secure' | 'tlsv1.2' | 'tlsv1.3'
  /** As OpenSSL lists them; null: Node's own choice. */
  readonly ciphers: string | null
  /** Absent: prefer. */
  readonly channelBinding?: ChannelBinding
}

/** One way to open a connection. `both`: asked for TLS, content without. */
export type Attempt = 'plain' | 'tls' | 'both'

const attemptsOf: Readonly<Record<ServerTlsMode, readonly [Attempt, ...Attempt[]]>> = {
  disable: ['plain'],
  allow: ['plain', 'tls'],
  prefer: ['both', 'plain'],
  require: ['tls'],
  'verify-ca': ['tls'],
  'verify-full': ['tls'],
}

/** A host that begins with a slash is the directory of a Unix socket. */
type Host = {
  readonly host: string
  /** A mode of its own; absent or null: the common one. */
  readonly tlsMode?: ServerTlsMode | null | undefined
}

export class ServerTls {
  #options: ServerTlsOptions
  #context: SecureContext

  /** @throws Error naming the setting and what is wrong with its file */
  constructor(options: ServerTlsOptions) {
    this.#options = options
    this.#context = load(options)
  }

  /** Whether logins are tied to the certificate that the server has shown. */
  get channelBinding(): ChannelBinding {
    return this.#options.channelBinding ?? 'prefer'
  }

  /** Files whose change asks for a reload. */
  get files(): readonly string[] {
    const { ca, cert, key } = this.#options
    return [ca, cert, key].filter((file) => file !== null)
  }

  get options(): ServerTlsOptions {
    return this.#options
  }

  /** Reads the files; what it gives makes further connections go by them. @throws Error as the constructor does */
  prepare(options: ServerTlsOptions): () => void {
    const context = load(options)
    return () => {
      this.#context = context
      this.#options = options
    }
  }

  /** In which order connections to `host` are tried. What stays on this machine is not encrypted. */
  attempts(host: Host): readonly [Attempt, ...Attempt[]] {
    return attemptsOf[host.host.startsWith('/') ? 'disable' : this.#mode(host)]
  }

  /** What a handshake with `host` asks for. */
  handshake(host: Host): ConnectionOptions {
    const { ca } = this.#options
    const mode = this.#mode(host)
    // As in libpq, whoever names authorities wants them to count.
    const verified = mode.startsWith('verify') || (mode === 'require' && ca !== null)
    return {
      secureContext: this.#context,
      host: host.host,
      ...(isIP(host.host) === 0 ? { servername: host.host } : {}),
      rejectUnauthorized: verified,
      ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
    }
  }

  #mode(host: Host): ServerTlsMode {
    return host.tlsMode ?? this.#options.mode
  }
}

/** Also with mode disable: a URL may have another. */
function load({ ca, cert, key, protocols, ciphers }: ServerTlsOptions): SecureContext {
  // Without authorities of one's own nobody is trusted: Node's list is for the web.
  const files = { ca: read('ca', ca) ?? [], cert: read('cert', cert), key: read('key', key) }
  try {
    return createSecureContext({
      ...files,
      minVersion: protocols === 'tlsv1.3' ? 'TLSv1.3' : 'TLSv1.2',
      maxVersion: protocols === 'tlsv1.2' ? 'TLSv1.2' : 'TLSv1.3',
      ...(ciphers === null ? {} : { ciphers }),
    })
  } catch (cause) {
    throw new Error(`TLS towards servers cannot be set up: ${messageOf(cause)}`, { cause })
  }
}

function read(name: 'ca' | 'cert' | 'key', file: string | null): Buffer | undefined {
  if (file === null) return undefined
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new Error(`tls.server.${name} cannot be read: ${messageOf(cause)}`, { cause })
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
