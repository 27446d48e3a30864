// Which rows a move takes along, said twice: as a predicate for PostgreSQL and as one for a key at hand. Both must
// agree on every key, as they tell source, target and proxies apart.
import type { Vnode } from '../core/ids.ts'
import type { KeyValue } from './key-hash.ts'
import type { KeyType } from './schema.ts'

/**
 * Rows whose key's virtual node is one of `vnodes`, but for keys of `except` (pinned elsewhere), and rows whose key is one
 * of `keys`. Keys are written as `keyText` writes them.
 */
export type MovedSet = {
  readonly vnodes: readonly Vnode[]
  readonly keys: readonly string[]
  readonly except: readonly string[]
}

/** A key as it stands in `ringfence.pin`: decimal, lower-case uuid, or the text itself. */
export function keyText(key: KeyValue): string {
  switch (key.kind) {
    case 'bigint':
      return key.value.toString()
    case 'text':
      return Buffer.from(key.bytes).toString()
    case 'uuid': {
      const hex = Buffer.from(key.bytes).toString('hex')
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    }
  }
}

/** Tells whether a key belongs to the set; `vnode` is the key's own. */
export function setMembership(set: MovedSet): (key: KeyValue, vnode: Vnode) => boolean {
  const vnodes = new Set(set.vnodes)
  const keys = new Set(set.keys)
  const except = new Set(set.except)
  const named = keys.size > 0 || except.size > 0
  return (key, vnode) => {
    if (!named) return vnodes.has(vnode)
    const text = keyText(key)
    return keys.has(text) || (vnodes.has(vnode) && !except.has(text))
  }
}

/**
 * SQL that is true for a row of the set; `column` is the quoted name of the key's column, qualified as needed. Virtual
 * nodes are bits: a list of thousands takes PostgreSQL milliseconds to read. Keys are a literal array: only those are
 * hashed by the executor.
 */
export function movedSetSql(set: MovedSet, column: string, keyType: KeyType): string {
  const parts: string[] = []
  if (set.vnodes.length > 0) {
    const inVnodes = vnodesSql(set.vnodes, column)
    if (set.except.length === 0) parts.push(inVnodes)
    else parts.push(`(${inVnodes} AND ${keysSql(set.except, column, keyType, '<> ALL')})`)
  }
  if (set.keys.length > 0) parts.push(keysSql(set.keys, column, keyType, '= ANY'))
  if (parts.length === 0) return 'false'
  return parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(' OR ')})`
}

/** Behind the last bit substring() finds nothing. */
function vnodesSql(vnodes: readonly Vnode[], column: string): string {
  const last = vnodes.reduce((most, vnode) => Math.max(most, vnode), 0)
  const digits = new Uint8Array((last >> 2) + 1)
  for (const vnode of vnodes) digits[vnode >> 2] = (digits[vnode >> 2] ?? 0) | (8 >> (vnode & 3))
  const bits = Array.from(digits, (digit) => digit.toString(16)).join('')
  return `pg_catalog.substring(X'${bits}', ringfence.vnode(${column}) + 1, 1) = B'1'`
}

function keysSql(
  keys: readonly string[],
  column: string,
  keyType: KeyType,
  operator: '= ANY' | '<> ALL',
): string {
  // Bytes are what is hashed, whatever the column's collation.
  const compared = keyType === 'text' ? `(${column})::text COLLATE "C"` : column
  const elements = keys.map((key) => `"${key.replaceAll(/["\\]/g, '\\$&')}"`).join(',')
  return `${compared} ${operator} (${literal(`{${elements}}`)}::${keyType}[])`
}

/** The same whatever standard_conforming_strings is: clients' sessions read it too. */
function literal(text: string): string {
  const quoted = text.replaceAll("'", "''")
  return quoted.includes('\\') ? `E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`
}
