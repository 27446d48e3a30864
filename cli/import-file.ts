// The configuration file that `ringfence import` writes.

export type ImportedDatabase = {
  readonly host: string
  readonly port: number
  readonly database: string
  /** `sslmode` of the server's URL; null: as the proxy does by itself. */
  readonly tlsMode: string | null
  readonly user: string
  /** Null where the server trusts us. */
  readonly password: string | null
  /** Of the client's login to the proxy, under the same name. */
  readonly clientPassword: string
  readonly key: string
  readonly keyType: string
  readonly tables: ReadonlyMap<string, { readonly key: string } | { readonly placement: string }>
}

/** Text of a file that `config/load.ts` accepts. */
export function importFile(from: ImportedDatabase): string {
  const { user, password, tables } = from
  const host = from.host.includes(':') ? `[${from.host}]` : from.host
  const query = from.tlsMode === null ? '' : `?sslmode=${from.tlsMode}`
  const url = `postgres://${host}:${from.port}/${encodeURIComponent(from.database)}${query}`
  const secret = password === null ? '' : `, password: ${quoted(password)}`
  const listed = [...tables].map(([name, rule]) => {
    const [[what, value] = ['', '']] = Object.entries(rule)
    return `        ${quoted(name)}: { ${what}: ${quoted(value)} }`
  })
  return `# Written by "ringfence import". Passwords stand in it; \${NAME} is the environment's.
listen: { host: 127.0.0.1, port: 6432 }

# Who may log in to the proxy.
users:
  - { name: ${quoted(user)}, password: ${quoted(from.clientPassword)}, admin: true }

databases:
  ${quoted(from.database)}:
    # Login of the proxy to the shards.
    server_user: { name: ${quoted(user)}${secret} }
    shards:
      - { id: s1, primary: ${quoted(url)} }
      # The next one: add it here, reload every proxy, then: ringfence shard add s2
      # - { id: s2, primary: "postgres://10.0.0.2:5432/${encodeURIComponent(from.database)}" }
    sharding:
      key: ${quoted(from.key)}
      key_type: ${from.keyType}
${listed.length === 0 ? '' : `      tables:\n${listed.join('\n')}\n`}`
}

/** JSON's strings are YAML's, but for the references to the environment that a file may have. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll('${', () => '$${')
}
