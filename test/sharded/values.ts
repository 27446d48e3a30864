// Values in statements, in all the ways that SQL has of writing them: literals, casts, parameters
// in text and binary.
import type { Param, Statement } from './side.ts'
import { shopKeys } from './shop.ts'
import type { Tape } from './tape.ts'

/**
 * Types of the shop's columns as the generator sees them; `key`: a shard key of any integer type.
 */
export type Type = 'key' | 'int' | 'num' | 'text' | 'bool' | 'date' | 'mood'

const int2 = 21
const int4 = 23
const int8 = 20
const textOid = 25
const int8Array = 1016
const castNames: Record<Type, string> = {
  key: 'bigint',
  int: 'integer',
  num: 'numeric(12,2)',
  text: 'text',
  bool: 'boolean',
  date: 'date',
  mood: 'mood',
}

/** Writes values into one statement and collects its parameters. */
export class Values {
  readonly tape: Tape
  /** The key that the statement is mostly about. */
  readonly key: string
  readonly #useParams: boolean
  readonly #params: Param[] = []

  constructor(tape: Tape, { params }: { readonly params: boolean }) {
    this.tape = tape
    this.key = this.anyKey()
    this.#useParams = params && tape.oneIn(3)
  }

  anyKey(): string {
    const { tape } = this
    return tape.oneIn(20) ? String(8 + tape.below(5)) : tape.pick(['3', ...shopKeys])
  }

  /** The statement that `sql` and the parameters written so far are. */
  statement(sql: string, ordered = false): Statement {
    const { tape } = this
    // Only some of what was written has become part of the statement.
    const used: Param[] = []
    const text = sql.replaceAll(/«(\d+)»/g, (_, index: string) => {
      const param = this.#params[Number(index)]
      if (param !== undefined && !used.includes(param)) used.push(param)
      return `$${param === undefined ? 0 : used.indexOf(param) + 1}`
    })
    const params = used.length > 0 || tape.oneIn(5) ? used : null
    return { sql: text, params, ordered, binary: params !== null && tape.oneIn(4) }
  }

  /** A key in one of many spellings, all of the same value. */
  keyLiteral(key: string): string {
    const { tape } = this
    const bare = key === '-9223372036854775808' ? `'${key}'` : key
    const spellings = [
      () => bare,
      () => `'${key}'`,
      () => this.#keyParam(key),
      () => `${bare}::bigint`,
      () => `'${key}'::bigint`,
      () => `CAST('${key}' AS int8)`,
      () => `(${bare})`,
      () => `E'${key}'`,
      () => `/* 7 */ ${bare} -- 8\n`,
      () => `${bare}.0`.replace("'.0", ".0'::numeric"),
      () => `' ${key} '`,
      () => `$q$${key}$q$`,
      () => `'${key}'::text::bigint`,
      () => `(${bare} + 0)`,
      () => `U&'${key}'`,
      () => `bigint '${key}'`,
      () => `'${key.slice(0, 1)}'\n'${key.slice(1)}'`,
      () => `(SELECT ${bare})`,
      () => `abs(${bare})`.replace(/^abs\((-.*|'-.*)\)$/, '$1'),
    ]
    const at = tape.oneIn(2) ? tape.below(spellings.length) : tape.below(3)
    return spellings[at]?.() ?? bare
  }

  /** An array of keys as ANY takes it. */
  keyArray(keys: readonly string[]): string {
    const { tape } = this
    const text = `{${keys.join(',')}}`
    if (this.#useParams && tape.oneIn(2)) {
      const type = tape.pick([0, int8Array])
      return this.#add({ type, format: 0, value: Buffer.from(text) })
    }
    const items = keys.map((key) => (key === '-9223372036854775808' ? `'${key}'` : key))
    return tape.pick([
      `ARRAY[${items.join(', ')}]`,
      `'${text}'`,
      `'${text}'::bigint[]`,
      `ARRAY[${keys.map((key) => `'${key}'`).join(', ')}]::bigint[]`,
    ])
  }

  /** A constant of a type; now and then NULL. */
  literal(type: Type): string {
    const { tape } = this
    if (type === 'key') return this.keyLiteral(tape.mostly(3) ? this.key : this.anyKey())
    if (tape.oneIn(15)) return `NULL::${castNames[type]}`
    const value = this.#plain(type)
    if (this.#useParams && tape.oneIn(3)) {
      const cast = type === 'num' ? 'numeric' : castNames[type]
      return `${this.#add({ type: 0, format: 0, value: Buffer.from(value) })}::${cast}`
    }
    if (type === 'text') return tape.pick([`'${value}'`, `E'${value}'`, `$$${value}$$`])
    if (type === 'int') return value.startsWith('-') ? `(${value})` : value
    if (type === 'num') return tape.pick([`${value}::numeric(12,2)`, `'${value}'::numeric(12,2)`])
    return `'${value}'::${castNames[type]}`
  }

  #plain(type: Type): string {
    const { tape } = this
    switch (type) {
      case 'key':
      case 'int':
        return tape.pick(['1', '2', '3', '0', '-1', '21', '22', '10'])
      case 'num':
        return tape.pick(['1.25', '2.25', '10.50', '0.00', '-3.10'])
      case 'text':
        return tape.pick(['new', 'u1@0', 'p1', 'w1', 'tenant 1', '', 'it”s', 'ü €'])
      case 'bool':
        return tape.pick(['true', 'false'])
      case 'date':
        return tape.pick(['2024-05-01', '2024-05-02', '2000-01-01'])
      case 'mood':
        return tape.pick(['ok', 'sad', 'happy'])
    }
  }

  #keyParam(key: string): string {
    const { tape } = this
    if (!this.#useParams) return tape.oneIn(2) ? `+${key}`.replace('+-', '- ') : `'${key}'`
    const small = Math.abs(Number(key)) < 30_000
    const shape = tape.below(5)
    const type = small ? tape.pick([int8, int4, int2]) : int8
    if (shape === 0) return this.#add({ type: 0, format: 0, value: Buffer.from(key) })
    if (shape === 1) return this.#add({ type, format: 1, value: integerBytes(key, type) })
    if (shape === 2) return this.#add({ type, format: 0, value: Buffer.from(key) })
    if (shape === 3) {
      const value = integerBytes(key, int8)
      return `${this.#add({ type: 0, format: 1, value })}::bigint`
    }
    return `${this.#add({ type: textOid, format: 0, value: Buffer.from(key) })}::bigint`
  }

  #add(param: Param): string {
    this.#params.push(param)
    return `«${this.#params.length - 1}»`
  }
}

function integerBytes(key: string, type: number): Buffer {
  const bytes = Buffer.alloc(type === int8 ? 8 : type === int4 ? 4 : 2)
  if (type === int8) bytes.writeBigInt64BE(BigInt(key))
  else if (type === int4) bytes.writeInt32BE(Number(key))
  else bytes.writeInt16BE(Number(key))
  return bytes
}
