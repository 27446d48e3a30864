// Definitions after which a table's rows would belong elsewhere than they lie: what places a table
// is its name, its columns and its parent (catalog/schema-placement.ts), and each can be altered.
import type { AlterObjectSchemaStmt, RangeVar, RenameStmt } from '@pgsql/types'
import { type PgError, pgError } from '../core/errors.ts'
import type { Names } from './names.ts'
import type { Placement, Relation } from './schema.ts'

/** ALTER … RENAME of a table, a column or a schema; null when every row stays where it belongs. */
export function checkRename(rename: RenameStmt, names: Names): PgError | null {
  const { relation: range, subname: column, newname = '', renameType } = rename
  if (renameType === 'OBJECT_SCHEMA') return checkSchemaName([column ?? '', newname], names)
  const relation = tableNamed(range, names)
  if (relation === undefined) return null
  if (column === undefined) return checkName(relation, { ...relation, name: newname }, names)
  if (renameType !== 'OBJECT_COLUMN') return null
  if (column === relation.key) return pgError('unsupported', ['renaming the shard key'])
  const columns = relation.columns.map((each) => {
    return each.name === column ? { ...each, name: newname } : each
  })
  return isMoved(relation, { ...relation, columns }, names)
    ? pgError('unsupported', [`renaming a column of "${relation.name}" to the shard key`])
    : null
}

/** ALTER TABLE … SET SCHEMA. */
export function checkSetSchema(move: AlterObjectSchemaStmt, names: Names): PgError | null {
  const relation = tableNamed(move.relation, names)
  if (relation === undefined) return null
  return checkName(relation, { ...relation, schema: move.newschema ?? '' }, names)
}

/** A partition or child that leaves its parent is placed by what it is itself. */
export function checkLeaving(child: Relation, names: Names): PgError | null {
  const alone = placedAlone(child, names)
  return alone.placement === child.placement && alone.key === child.key
    ? null
    : pgError('unsupported', [
        `taking "${child.name}" from its parent, which says where rows live,`,
      ])
}

function checkName(before: Relation, after: Relation, names: Names): PgError | null {
  const { schema, name } = before
  const configured = names.configured(schema, name) !== undefined
  return configured || isMoved(before, after, names)
    ? pgError('unsupported', [`renaming the table "${name}", which the configuration names,`])
    : null
}

function checkSchemaName(schemas: readonly string[], { rules }: Names): PgError | null {
  const named = [...rules.tables.keys()].some((table) =>
    schemas.some((schema) => table.startsWith(`${schema}.`)),
  )
  return named
    ? pgError('unsupported', ['renaming a schema, which the configuration names,'])
    : null
}

type Place = { readonly placement: Placement; readonly key: string | null }

function isMoved(before: Relation, after: Relation, names: Names): boolean {
  const [one, other] = [placedAlone(before, names), placedAlone(after, names)]
  return one.placement !== other.placement || one.key !== other.key
}

/** Where a table's rows live when it has no parent. */
function placedAlone({ schema, name, columns }: Relation, names: Names): Place {
  const rule = names.configured(schema, name)
  if (rule !== undefined && 'placement' in rule) {
    return { placement: rule.placement === 'reference' ? 'reference' : 'home', key: null }
  }
  const key = rule?.key ?? names.rules.key
  const sharded = rule !== undefined || columns.some((column) => column.name === key)
  return sharded ? { placement: 'sharded', key } : { placement: 'home', key: null }
}

function tableNamed(range: RangeVar | undefined, names: Names): Relation | undefined {
  const relation = range === undefined ? undefined : names.relation(range)
  return relation?.kind === 'r' || relation?.kind === 'p' ? relation : undefined
}
