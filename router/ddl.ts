// Statements that define things → run on every shard in one transaction, unless a shard could not
// enforce what they promise, or they cannot run inside of a transaction.
import type { AlterTableCmd, AlterTableStmt, Node, RangeVar } from '@pgsql/types'
import type { PgError } from '../core/errors.ts'
import { pgError } from '../core/errors.ts'
import {
  checkColumn,
  checkConstraint,
  checkDefault,
  checkIndex,
  checkNewTable,
  checkRewrite,
  type Table,
} from './ddl-constraints.ts'
import { checkLeaving, checkRename, checkSetSchema } from './ddl-placement.ts'
import { type Names, writtenName } from './names.ts'
import { refused, type Route } from './route.ts'
import type { Relation } from './schema.ts'

/** Route of a definition; undefined when `node` is none that is known. */
export function ddlRoute(node: Node, names: Names): Route | undefined {
  const tag = Object.keys(node)[0] ?? ''
  const alone = outsideTransactions.get(tag)
  if (alone !== undefined) return refused(pgError('unsupported', [alone]))
  const verdict = checkDefinition(node, names)
  if (verdict !== null) return verdict
  return isDefinition(tag) ? everywhere(relationName(node)) : undefined
}

/** Statements that cannot run in a transaction, or whose effect belongs to one server. */
const outsideTransactions: ReadonlyMap<string, string> = new Map([
  ['CreatedbStmt', 'CREATE DATABASE'],
  ['DropdbStmt', 'DROP DATABASE'],
  ['AlterDatabaseStmt', 'ALTER DATABASE'],
  ['AlterDatabaseSetStmt', 'ALTER DATABASE'],
  ['AlterDatabaseRefreshCollStmt', 'ALTER DATABASE'],
  ['AlterSystemStmt', 'ALTER SYSTEM'],
  ['CreateTableSpaceStmt', 'CREATE TABLESPACE'],
  ['DropTableSpaceStmt', 'DROP TABLESPACE'],
  ['AlterTableSpaceOptionsStmt', 'ALTER TABLESPACE'],
  ['CreateSubscriptionStmt', 'CREATE SUBSCRIPTION'],
  ['AlterSubscriptionStmt', 'ALTER SUBSCRIPTION'],
  ['DropSubscriptionStmt', 'DROP SUBSCRIPTION'],
  ['ClusterStmt', 'CLUSTER'],
  ['CheckPointStmt', 'CHECKPOINT'],
  ['RefreshMatViewStmt', 'REFRESH MATERIALIZED VIEW'],
  ['CreateTableAsStmt', 'CREATE TABLE AS or CREATE MATERIALIZED VIEW'],
  ['DoStmt', 'DO'],
  ['CallStmt', 'CALL'],
  ['PrepareStmt', 'PREPARE'],
  ['ExecuteStmt', 'EXECUTE'],
  ['LoadStmt', 'LOAD'],
])

const otherDefinitions = new Set([
  'CommentStmt',
  'SecLabelStmt',
  'GrantStmt',
  'GrantRoleStmt',
  'RenameStmt',
  'ViewStmt',
  'IndexStmt',
  'TruncateStmt',
  'DefineStmt',
  'ReassignOwnedStmt',
  'ImportForeignSchemaStmt',
  'ReplicaIdentityStmt',
  'CompositeTypeStmt',
  'VacuumStmt',
  'ReindexStmt',
  'RuleStmt',
])

/** True for the tree's types of statements that define things, or may. */
export function isDefinition(tag: string): boolean {
  return /^(?:Create|Alter|Drop).*Stmt$/.test(tag) || otherDefinitions.has(tag)
}

function everywhere(relation: string): Route {
  return { kind: 'everywhere', what: 'ddl', relation, once: null, timeColumns: false }
}

function relationName(node: Node): string {
  if ('CreateStmt' in node) return node.CreateStmt.relation?.relname ?? ''
  if ('AlterTableStmt' in node) return node.AlterTableStmt.relation?.relname ?? ''
  if ('IndexStmt' in node) return node.IndexStmt.relation?.relname ?? ''
  if ('ViewStmt' in node) return node.ViewStmt.view?.relname ?? ''
  if ('RenameStmt' in node) return node.RenameStmt.relation?.relname ?? ''
  if ('TruncateStmt' in node) {
    const [first] = node.TruncateStmt.relations ?? []
    return first !== undefined && 'RangeVar' in first ? (first.RangeVar.relname ?? '') : ''
  }
  return ''
}

/** A route that the statement's own content asks for; null when it is an ordinary definition. */
function checkDefinition(node: Node, names: Names): Route | null {
  if ('CreateStmt' in node) return verdict(checkNewTable(node.CreateStmt, names))
  if ('CreateSchemaStmt' in node) {
    const elements = node.CreateSchemaStmt.schemaElts ?? []
    return (
      elements.map((element) => checkDefinition(element, names)).find((it) => it !== null) ?? null
    )
  }
  if ('AlterTableStmt' in node) return checkAlterTable(node.AlterTableStmt, names)
  if ('RenameStmt' in node) return verdict(checkRename(node.RenameStmt, names))
  if ('AlterObjectSchemaStmt' in node) {
    return verdict(checkSetSchema(node.AlterObjectSchemaStmt, names))
  }
  if ('IndexStmt' in node) {
    if (node.IndexStmt.concurrent === true) return unsupported('CREATE INDEX CONCURRENTLY')
    const relation = known(node.IndexStmt.relation, names)
    if (relation === undefined) return missing(node.IndexStmt.relation)
    return verdict(checkIndex(node.IndexStmt, relation))
  }
  if ('DropStmt' in node && node.DropStmt.concurrent === true)
    return unsupported('DROP INDEX CONCURRENTLY')
  if ('TruncateStmt' in node) return checkTruncate(node.TruncateStmt, names)
  if ('VacuumStmt' in node && node.VacuumStmt.is_vacuumcmd === true) return unsupported('VACUUM')
  if ('ReindexStmt' in node) {
    const { kind, params = [] } = node.ReindexStmt
    const inTransaction = kind === 'REINDEX_OBJECT_INDEX' || kind === 'REINDEX_OBJECT_TABLE'
    return inTransaction && params.length === 0 ? null : unsupported('this form of REINDEX')
  }
  if ('LockStmt' in node) return checkLock(node.LockStmt.relations ?? [], names)
  return checkSmaller(node, names)
}

function checkSmaller(node: Node, names: Names): Route | null {
  if ('RuleStmt' in node) {
    const placement = known(node.RuleStmt.relation, names)?.placement
    return placement === 'home' ? null : unsupported('CREATE RULE on a table of several shards')
  }
  if (
    'CreateTrigStmt' in node &&
    known(node.CreateTrigStmt.relation, names)?.placement === 'reference'
  ) {
    // What a trigger computes is nobody's to see: copies would differ by its clock or its dice.
    return unsupported('CREATE TRIGGER on a reference table')
  }
  const temporary =
    ('ViewStmt' in node && node.ViewStmt.view?.relpersistence === 't') ||
    ('CreateSeqStmt' in node && node.CreateSeqStmt.sequence?.relpersistence === 't')
  if (temporary) return unsupported('a temporary view or sequence on a sharded database')
  if ('AlterSeqStmt' in node) {
    const renumbers = (node.AlterSeqStmt.options ?? []).some(
      (option) => 'DefElem' in option && !['owned_by', 'as'].includes(option.DefElem.defname ?? ''),
    )
    // Each shard counts in steps of its own; one RESTART for all would make them collide.
    if (renumbers) return unsupported('ALTER SEQUENCE that changes its numbering')
  }
  return null
}

function checkTruncate(
  { relations, restart_seqs: restarts }: { relations?: Node[]; restart_seqs?: boolean },
  names: Names,
): Route | null {
  const ranges = (relations ?? []).flatMap((node) => ('RangeVar' in node ? [node.RangeVar] : []))
  const placements: string[] = []
  for (const range of ranges) {
    const relation = known(range, names)
    if (relation === undefined) return missing(range)
    placements.push(relation.placement)
  }
  if (placements.every((placement) => placement === 'home')) return { kind: 'home' }
  return restarts === true ? unsupported('TRUNCATE … RESTART IDENTITY') : null
}

function checkLock(relations: readonly Node[], names: Names): Route {
  for (const node of relations) {
    const range = 'RangeVar' in node ? node.RangeVar : undefined
    const relation = known(range, names)
    if (relation === undefined) return missing(range)
    if (relation.placement !== 'home' && relation.placement !== 'catalog') {
      return refused(
        pgError('unsupportedAcrossShards', [`LOCK TABLE of "${relation.name}"`, names.rules.key]),
      )
    }
  }
  return { kind: 'home' }
}

function checkAlterTable(statement: AlterTableStmt, names: Names): Route | null {
  const { relation: range, objtype = 'OBJECT_TABLE', missing_ok: optional = false } = statement
  if (objtype !== 'OBJECT_TABLE') return null
  const relation = known(range, names)
  if (relation === undefined) return optional ? null : missing(range)
  for (const node of statement.cmds ?? []) {
    const found = 'AlterTableCmd' in node ? checkCommand(node.AlterTableCmd, relation, names) : null
    if (found !== null) return found
  }
  return null
}

function checkCommand(command: AlterTableCmd, relation: Relation, names: Names): Route | null {
  const { subtype, name, def } = command
  const table: Table = { ...relation, self: relation.name }
  const local = relation.placement === 'home'
  switch (subtype) {
    case 'AT_AddColumn':
      return def !== undefined && 'ColumnDef' in def
        ? verdict(checkColumn(def.ColumnDef, table, names))
        : null
    case 'AT_AddConstraint':
      return def !== undefined && 'Constraint' in def
        ? verdict(checkConstraint(def.Constraint, [], table, names))
        : null
    case 'AT_DropColumn':
    case 'AT_AlterColumnType':
    case 'AT_DropNotNull':
      if (name === relation.key) return unsupported(`ALTER TABLE of the shard key "${name}"`)
      return subtype === 'AT_AlterColumnType' ? verdict(checkRewrite(def, table)) : null
    case 'AT_ColumnDefault':
      return verdict(checkDefault(def, table))
    case 'AT_SetIdentity':
      return local ? null : unsupported('ALTER COLUMN … RESTART of an identity column')
    case 'AT_AttachPartition':
    case 'AT_AddInherit':
      return checkPartition(def, relation, names)
    case 'AT_DropInherit':
      return verdict(checkLeaving(relation, names))
    case 'AT_DetachPartition':
      return def !== undefined && 'PartitionCmd' in def && def.PartitionCmd.concurrent === true
        ? unsupported('DETACH PARTITION CONCURRENTLY')
        : checkDetached(def, names)
    default:
      return null
  }
}

function checkPartition(def: Node | undefined, parent: Relation, names: Names): Route | null {
  const partition = def !== undefined && 'PartitionCmd' in def ? def.PartitionCmd.name : undefined
  const range = partition ?? (def !== undefined && 'RangeVar' in def ? def.RangeVar : undefined)
  const child = known(range, names)
  if (child === undefined) return missing(range)
  const same = child.placement === parent.placement && child.key === parent.key
  return same ? null : unsupported('a partition whose rows live elsewhere than its parent’s')
}

function checkDetached(def: Node | undefined, names: Names): Route | null {
  const range = def !== undefined && 'PartitionCmd' in def ? def.PartitionCmd.name : undefined
  const child = known(range, names)
  return child === undefined ? missing(range) : verdict(checkLeaving(child, names))
}

function known(range: RangeVar | undefined, names: Names): Relation | undefined {
  return range === undefined ? undefined : names.relation(range)
}

function missing(range: RangeVar | undefined): Route {
  return refused(pgError('undefinedTable', [range === undefined ? '' : writtenName(range)]), true)
}

function unsupported(construct: string): Route {
  return refused(pgError('unsupported', [construct]))
}

function verdict(error: PgError | 'unresolved' | null): Route | null {
  if (error === null) return null
  return error === 'unresolved' ? missing(undefined) : refused(error, error.sqlstate === '42P01')
}
