// From what the source did to what the target has to do: changes of the moved set's rows, and of no
// others.
import { formatLsn, type Lsn } from '../../core/lsn.ts'
import { type KeyValue, vnodeOfKey } from '../../router/key-hash.ts'
import { type MovedSet, setMembership } from '../../router/moved-set.ts'
import type { KeyType } from '../../router/schema.ts'
import type {
  PgoutputOld,
  PgoutputRelation,
  PgoutputRow,
  PgoutputTruncate,
} from '../../wire/pgoutput.ts'
import type { PgoutputTuple, PgoutputValue } from '../../wire/pgoutput-tuple.ts'
import { int8FromText, intFromBinary, uuidFromBinary, uuidFromText } from '../../wire/values.ts'
import { MoveProblem } from '../move-problem.ts'
import { type AppliedTable, differs, type ValueFormat } from './applied-table.ts'
import type { Row } from './statements.ts'

/** `update` leaves the identity as it was; `old` and the row of a delete hold identities only. */
export type Change =
  | { readonly kind: 'insert'; readonly table: AppliedTable; readonly row: Row }
  | { readonly kind: 'update'; readonly table: AppliedTable; readonly row: Row }
  | {
      readonly kind: 'rekey'
      readonly table: AppliedTable
      readonly old: Row
      readonly row: Row
    }
  | { readonly kind: 'delete'; readonly table: AppliedTable; readonly row: Row }
  | { readonly kind: 'truncate'; readonly table: AppliedTable }

export type ChangeRules = {
  readonly tables: readonly AppliedTable[]
  readonly format: ValueFormat
  readonly set: MovedSet
  readonly keyType: KeyType
  readonly vnodeBits: number
}

/** A relation of the stream: places of our columns in its rows, or why its rows cannot be taken. */
type Known =
  | {
      readonly kind: 'followed'
      readonly table: AppliedTable
      readonly places: readonly number[]
      /** By the place in the stream's rows: sent with the old version of a row. */
      readonly keyed: readonly boolean[]
    }
  | { readonly kind: 'refused'; readonly problem: MoveProblem }
  | { readonly kind: 'other' }

/** Chooses changes; knows what the stream's relation numbers stand for. */
export class ChangeSelector {
  readonly #rules: ChangeRules
  readonly #isMember: (key: KeyValue, vnode: ReturnType<typeof vnodeOfKey>) => boolean
  readonly #relations = new Map<number, Known>()

  constructor(rules: ChangeRules) {
    this.#rules = rules
    this.#isMember = setMembership(rules.set)
  }

  /** Notes what a relation is; what is wrong with it shows when one of its rows comes. */
  relation(message: PgoutputRelation): void {
    const { relation, schema, name } = message
    const table = this.#rules.tables.find((each) => each.schema === schema && each.name === name)
    this.#relations.set(
      relation,
      table === undefined ? { kind: 'other' } : this.#followed(table, message),
    )
  }

  /**
   * What has to be done for this change of a transaction that commits at `finalLsn`. @throws
   * MoveProblem schemaChanged, identityMissing, toastMissing.
   */
  select(message: PgoutputRow | PgoutputTruncate, finalLsn: Lsn): readonly Change[] {
    if (message.kind === 'truncate') {
      return message.relations.flatMap((relation): Change[] => {
        const known = this.#known(relation, finalLsn)
        return known === null ? [] : [{ kind: 'truncate', table: known.table }]
      })
    }
    const known = this.#known(message.relation, finalLsn)
    if (known === null) return []
    const change = this.#row(message, known, finalLsn)
    return change === null ? [] : [change]
  }

  #followed(table: AppliedTable, { columns, identity }: PgoutputRelation): Known {
    const refused = (problem: MoveProblem): Known => ({ kind: 'refused', problem })
    const shown = `${table.schema}.${table.name}`
    for (const { name, typeOid, typmod } of columns) {
      const agreed = table.source.find((column) => column.name === name)
      if (agreed?.typeOid !== typeOid || agreed.typmod !== typmod) {
        return refused(differs(shown, `column "${name}" has been changed on the source`))
      }
    }
    const places = table.columns.map(({ name }) =>
      columns.findIndex((column) => column.name === name),
    )
    const missing = places.indexOf(-1)
    if (missing >= 0) {
      return refused(differs(shown, `column "${table.columns[missing]?.name}" is not published`))
    }
    const keyed = columns.map(({ key }) => key || identity === 'f')
    const uncovered = [table.key, ...table.identity].find((at) => keyed[places[at] ?? -1] !== true)
    if (uncovered !== undefined) {
      const name = table.columns[uncovered]?.name
      const message = `the replica identity of table "${shown}" lacks column "${name}"`
      const fullIdentity = `ALTER TABLE ${table.quoted} REPLICA IDENTITY FULL`
      const hint = `Run ${fullIdentity} on the source, then move again.`
      return refused(new MoveProblem('identityMissing', message, { hint }))
    }
    return { kind: 'followed', table, places, keyed }
  }

  /** Null when its changes are none of ours, or are in the copy. */
  #known(relation: number, finalLsn: Lsn): Extract<Known, { kind: 'followed' }> | null {
    const known = this.#relations.get(relation)
    if (known === undefined) throw undescribed(relation)
    if (known.kind === 'other') return null
    if (known.kind === 'refused') throw known.problem
    return finalLsn < known.table.fromLsn ? null : known
  }

  #row(
    message: PgoutputRow,
    known: Extract<Known, { kind: 'followed' }>,
    finalLsn: Lsn,
  ): Change | null {
    const { table } = known
    if (message.kind === 'delete') {
      const old = this.#oldOf(message.old, known)
      return this.#member(table, old) ? { kind: 'delete', table, row: old } : null
    }
    if (message.kind === 'insert') {
      const row = this.#rowOf(message.tuple, known, null)
      return this.#member(table, row) ? { kind: 'insert', table, row } : null
    }
    const row = this.#rowOf(message.tuple, known, message.old)
    if (table.identity.some((at) => row[at] === undefined)) throw toastMissing(table, finalLsn)
    const comes = this.#member(table, row)
    if (message.old === null) return comes ? { kind: 'update', table, row } : null
    const old = this.#oldOf(message.old, known)
    const was = this.#member(table, old)
    if (!was && !comes) return null
    if (!comes) return { kind: 'delete', table, row: old }
    if (!was) {
      if (row.includes(undefined)) throw toastMissing(table, finalLsn)
      return { kind: 'insert', table, row }
    }
    const same = table.identity.every((at) => equalBytes(old[at], row[at]))
    return same ? { kind: 'update', table, row } : { kind: 'rekey', table, old, row }
  }

  /**
   * Our columns out of the stream's row; a value that was not sent is taken from the old row where
   * that has it.
   */
  #rowOf(
    tuple: PgoutputTuple,
    { places, keyed, table }: Extract<Known, { kind: 'followed' }>,
    old: PgoutputOld | null,
  ): Row {
    return places.map((place) => {
      let value = tuple[place]
      if (value?.kind === 'unchanged' && old !== null) {
        if (old.kind === 'full' || keyed[place] === true) value = old.tuple[place]
      }
      return this.#bytes(value, table)
    })
  }

  /** Key and identity of the old row. */
  #oldOf({ tuple }: PgoutputOld, { places, table }: Extract<Known, { kind: 'followed' }>): Row {
    return places.map((place, at) => {
      if (at !== table.key && !table.identity.includes(at)) return undefined
      return this.#bytes(tuple[place], table)
    })
  }

  #bytes(value: PgoutputValue | undefined, table: AppliedTable): Uint8Array | null | undefined {
    if (value === undefined) throw differs(`${table.schema}.${table.name}`, 'a row is too short')
    if (value.kind === 'null') return null
    if (value.kind === 'unchanged') return undefined
    if (value.kind !== this.#rules.format) {
      throw differs(
        `${table.schema}.${table.name}`,
        `a value is ${value.kind}, which was not asked for`,
      )
    }
    return value.bytes
  }

  #member(table: AppliedTable, row: Row): boolean {
    const bytes = row[table.key]
    if (bytes === null) return false
    const key = bytes === undefined ? undefined : this.#keyOf(bytes)
    if (key === undefined) {
      throw differs(`${table.schema}.${table.name}`, 'the shard key of a row cannot be read')
    }
    return this.#isMember(key, vnodeOfKey(key, this.#rules.vnodeBits))
  }

  #keyOf(bytes: Uint8Array): KeyValue | undefined {
    const binary = this.#rules.format === 'binary'
    switch (this.#rules.keyType) {
      case 'text':
        return { kind: 'text', bytes }
      case 'bigint': {
        const value = binary ? intFromBinary(bytes) : int8FromText(bytes)
        return value === undefined ? undefined : { kind: 'bigint', value }
      }
      case 'uuid': {
        const uuid = binary ? uuidFromBinary(bytes) : uuidFromText(bytes)
        return uuid === undefined ? undefined : { kind: 'uuid', bytes: uuid }
      }
    }
  }
}

function equalBytes(a: Row[number], b: Row[number]): boolean {
  if (!a || !b) return a === b
  return Buffer.compare(a, b) === 0
}

function undescribed(relation: number): MoveProblem {
  return new MoveProblem('applyFailed', `the stream did not describe relation ${relation}`, {
    hint: 'This is a bug: please report it with the log. Abort the move and begin it again.',
  })
}

function toastMissing({ schema, name, quoted }: AppliedTable, finalLsn: Lsn): MoveProblem {
  const where = `the transaction at ${formatLsn(finalLsn)}`
  return new MoveProblem(
    'toastMissing',
    `${where} took a row of table "${schema}.${name}" into the moved set without its large values`,
    {
      hint: `Abort the move, run ALTER TABLE ${quoted} REPLICA IDENTITY FULL, and begin it again.`,
    },
  )
}
