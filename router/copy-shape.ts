// COPY → route. Into a sharded table the rows say which shard, so everything that splits them must
// be understood.
import type { CopyStmt, Node } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import { type Names, namesOf, keyFamily, writtenName } from './names.ts'
import type { CopyInPlan } from './plan.ts'
import { refused, type Route } from './route.ts'
import type { Relation } from './schema.ts'
import { constantText } from './syntax.ts'

/** Route of COPY of a table; `position` counts characters of the statement's string from 1. */
export function copyRoute(copy: CopyStmt, names: Names, position: number): Route {
  if (copy.filename !== undefined || copy.is_program === true) {
    return refused(pgError('unsupported', ['COPY from or to a file on the server']))
  }
  const { relation: range } = copy
  const relation = range === undefined ? undefined : names.relation(range)
  if (range === undefined || relation === undefined) {
    const name = range === undefined ? '' : writtenName(range)
    return refused(pgError('undefinedTable', [name], { position }), true)
  }
  const reading = copy.is_from !== true
  switch (relation.placement) {
    case 'home':
    case 'catalog':
      return { kind: 'home' }
    case 'reference':
      if (reading) return { kind: 'reference' }
      return refused(pgError('unsupported', [`COPY into the reference table "${relation.name}"`]))
    case 'mixed':
    case 'sharded':
      if (!reading && relation.placement === 'sharded') return copyIn(copy, relation, names)
      return refused(
        pgError('unsupportedAcrossShards', [
          `COPY of the table "${relation.name}"`,
          relation.key ?? names.rules.key,
        ]),
      )
  }
}

function copyIn(copy: CopyStmt, relation: Relation, names: Names): Route {
  const key = relation.columns.find(({ name }) => name === relation.key)
  const family = key === undefined ? undefined : keyFamily(key)
  const { keyType } = names.rules
  if (key === undefined || family !== (keyType === 'bigint' ? 'integer' : keyType)) {
    return refused(pgError('unsupported', [`a shard key of type ${key?.type ?? 'unknown'}`]))
  }
  if (copy.whereClause !== undefined) return refused(pgError('unsupported', ['COPY … WHERE']))
  const listed = namesOf(copy.attlist)
  const columns =
    listed.length > 0
      ? listed
      : relation.columns.filter(({ generated }) => !generated).map(({ name }) => name)
  const keyIndex = columns.indexOf(key.name)
  if (keyIndex < 0) return refused(pgError('keyMissing', [key.name, relation.name]))
  const options = readOptions(copy.options ?? [])
  if (typeof options === 'string') return refused(pgError('unsupported', [options]))
  const place = {
    relation: relation.name,
    keyColumn: key.name,
    keyIndex,
    columnCount: columns.length,
  }
  return { kind: 'copyIn', copy: { ...place, ...options } }
}

type CopyFormat = Omit<CopyInPlan, 'relation' | 'keyColumn' | 'keyIndex' | 'columnCount'>

/**
 * The options' meaning, or the name of one that changes how rows are read in a way not known here.
 */
function readOptions(options: readonly Node[]): CopyFormat | string {
  const given = new Map<string, string | null>()
  for (const option of options) {
    if (!('DefElem' in option)) return 'this COPY option'
    const { defname = '', arg } = option.DefElem
    given.set(defname.toLowerCase(), arg === undefined ? null : optionText(arg))
  }
  const format = given.get('format') ?? 'text'
  if (format !== 'text' && format !== 'csv' && format !== 'binary') return `COPY format ${format}`
  const csv = format === 'csv'
  const quote = given.get('quote') ?? '"'
  let header = false
  for (const [name, value] of given) {
    if (name === 'header') {
      if (!/^(?:true|on|1|false|off|0)$/i.test(value ?? 'true')) return `COPY … HEADER ${value}`
      header = /^(?:true|on|1)$/i.test(value ?? 'true')
    } else if (name === 'encoding') {
      if (!/^(?:utf-?_?8|unicode)$/i.test(value ?? '')) return `COPY … ENCODING ${value ?? ''}`
    } else if (!['format', 'delimiter', 'null', 'quote', 'escape'].includes(name)) {
      return `COPY … ${name.toUpperCase()}`
    }
  }
  return {
    format,
    delimiter: given.get('delimiter') ?? (csv ? ',' : '\t'),
    nullString: given.get('null') ?? (csv ? '' : '\\N'),
    quote,
    escape: given.get('escape') ?? quote,
    header,
  }
}

function optionText(arg: Node): string | null {
  if ('String' in arg) return arg.String.sval ?? ''
  if ('Integer' in arg) return String(arg.Integer.ival ?? 0)
  if ('Boolean' in arg) return String(arg.Boolean.boolval ?? false)
  return 'A_Const' in arg ? constantText(arg.A_Const) : null
}
