// What stops `ringfence init`: told to the operator on the command line, never to a client.

/** The catalog or a shard is not as this program or its configuration needs it; `hint` is the remedy. */
export class CatalogError extends Error {
  readonly hint: string | undefined

  constructor(message: string, hint?: string) {
    super(message)
    this.name = 'CatalogError'
    this.hint = hint
  }
}
