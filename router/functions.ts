// What a function call means for routing. Volatility comes from the schema; the sets below name
// what volatility alone does not tell: aggregates, clocks, functions whose answer or effect belongs
// to one server.
import type { FunctionTraits, ReplicaRules, Schema } from './schema.ts'
import { leavesForGood } from './traces.ts'

/**
 * Everything a statement's function calls imply; each field keeps the first function found, for
 * messages.
 */
export type FunctionFacts = {
  /** STABLE functions of time: shards would read different clocks. */
  clock: string | null
  /** Volatile, built in, but every row's value is as good as any other: random() and its kin. */
  dice: string | null
  /** Built in and answered differently by every server: needs the home shard. */
  server: string | null
  /** nextval and setval. */
  sequence: string | null
  /** currval and lastval, which need the server of an earlier nextval. */
  sequenceMemory: string | null
  /** Advisory locks and notifications live on the home shard. */
  lock: string | null
  /** The lock outlives the transaction. */
  sessionLock: boolean
  /** Leaves behind what can neither be looked up nor replayed. */
  lasting: boolean
  setConfig: boolean
  /** Runs SQL that is not in the statement, such as query_to_xml. */
  hiddenSql: string | null
  /** User-defined and not IMMUTABLE, or unknown. */
  userDefined: string | null
  /** User-defined and IMMUTABLE: may still be an aggregate where the schema does not say. */
  maybeAggregate: string | null
  /**
   * Writes or may write, by PostgreSQL's own notion: VOLATILE and not on the list of harmless ones.
   */
  mayWrite: boolean
}

export const noFunctions: Readonly<FunctionFacts> = {
  clock: null,
  dice: null,
  server: null,
  sequence: null,
  sequenceMemory: null,
  lock: null,
  sessionLock: false,
  lasting: false,
  setConfig: false,
  hiddenSql: null,
  userDefined: null,
  maybeAggregate: null,
  mayWrite: false,
}

const wordSet = (words: string) => new Set(words.trim().split(/\s+/))

const aggregates = wordSet(`
  any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp
  cume_dist dense_rank every first_value json_agg json_agg_strict json_object_agg
  json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg
  jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
  jsonb_object_agg_unique_strict lag last_value lead max min mode nth_value ntile percent_rank
  percentile_cont percentile_disc range_agg range_intersect_agg rank regr_avgx regr_avgy regr_count
  regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number stddev stddev_pop
  stddev_samp string_agg sum var_pop var_samp variance xmlagg
`)
const clocks = wordSet('now transaction_timestamp statement_timestamp age')
const dice = wordSet(`
  random random_normal gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday
  array_shuffle array_sample
`)
const sleeps = wordSet('pg_sleep pg_sleep_for pg_sleep_until')
const sequenceMemory = wordSet('currval lastval')
const sequences = wordSet('nextval setval')
const sameOnEveryServer = wordSet(`
  pg_typeof pg_size_pretty pg_size_bytes pg_column_size pg_column_compression pg_client_encoding
  pg_collation_for pg_input_is_valid pg_input_error_info pg_char_to_encoding pg_encoding_to_char
  current_setting current_schema current_schemas current_user session_user getdatabaseencoding version
`)
const serverPrefix = /^(?:pg_|inet_|txid_|has_|to_reg|lo_|lo(?:read|write)$|binary_upgrade_)/
const serverNames = wordSet(`
  current_database col_description obj_description shobj_description format_type row_security_active
  regclass mxid_age aclexplode current_query setseed currtid2 system_user getpgusername
`)
/** Whatever a list of the database's says. */
const neverOnReplicas = wordSet('set_config pg_notify nextval setval currval lastval')
/** Of those that differ between shards: a replica has its primary's databases. */
const sameOnReplicas = wordSet('current_database')
const hiddenSql = /_to_xml(?:schema|_and_xmlschema)?$|^ts_stat$|^ts_rewrite$|^dblink/
const advisory = /^pg_(?:try_)?advisory_(?:un)?lock|^pg_(?:try_)?advisory_xact_lock/

/** True when the call aggregates rows (or looks at other rows as a window function does). */
export function isAggregate(name: string, schema: Schema | null): boolean {
  return schema?.functions.get(name)?.aggregate ?? aggregates.has(name)
}

/** Notes a call of `name`. `schema` null: nothing is known of user-defined functions. */
export function noteFunction(facts: FunctionFacts, name: string, schema: Schema | null): void {
  const traits: FunctionTraits | undefined = schema?.functions.get(name)
  const volatility = traits?.volatility ?? 'volatile'
  if (leavesForGood(name)) facts.lasting = true
  if (traits?.builtin !== true && !(schema === null && aggregates.has(name))) {
    noteUserDefined(facts, name, traits)
    // Of two functions of one name the call may mean the system's.
    if (schema !== null && traits?.shadows !== true) return
  }
  if (advisory.test(name)) {
    facts.lock ??= name
    // Unlocking needs the server that has the lock, and that one is kept since locking.
    if (!name.includes('_xact_')) facts.sessionLock = true
  } else if (name === 'pg_notify') facts.lock ??= name
  else if (name === 'set_config') facts.setConfig = true
  else if (hiddenSql.test(name)) facts.hiddenSql ??= name
  else if (sequences.has(name)) facts.sequence ??= name
  else if (sequenceMemory.has(name)) facts.sequenceMemory ??= name
  else if (clocks.has(name)) facts.clock ??= name
  else if (dice.has(name)) facts.dice ??= name
  else if (belongsToServer(name, volatility)) facts.server ??= name
  const harmless = dice.has(name) || sleeps.has(name)
  if (volatility === 'volatile' && !harmless && !aggregates.has(name)) facts.mayWrite = true
}

/**
 * Why a call of `name` belongs on the primary, for EXPLAIN (ROUTE); null when any replica may run it.
 * `qualifier`: the schema that the call names.
 */
export function primaryReason(
  name: string,
  qualifier: string | null,
  schema: Schema | null,
  rules: ReplicaRules | null,
): string | null {
  const call = `the function ${qualifier === null ? name : `${qualifier}.${name}`}()`
  const traits = schema?.functions.get(name)
  const users = qualifier ?? (traits?.builtin === false ? traits.schemas : undefined)
  if (rules !== null && isDenied(name, qualifier, rules.deny)) return `${call} is on the deny list`
  if (advisory.test(name) || neverOnReplicas.has(name)) return `${call} is volatile`
  if (rules !== null && isListed(name, users, rules.allow)) return null
  if (schema === null) return isKnownHarmless(name) ? null : `${call} is not known`
  if (traits === undefined || !isIn(qualifier, traits)) return `${call} is not known`
  if (traits.builtin && (dice.has(name) || sleeps.has(name))) return null
  if (traits.volatility === 'volatile') return `${call} is volatile`
  if (!traits.builtin && traits.shadows !== true) return null
  if (hiddenSql.test(name)) return `${call} runs SQL of its own`
  const own = name === 'current_setting' || belongsToServer(name, traits.volatility)
  return own && !sameOnReplicas.has(name) ? `${call} tells of the server that it runs on` : null
}

/** True for a call of a function that is VOLATILE, or may be, and is not known to be harmless. */
export function functionMayWrite(
  name: string,
  qualifier: string | null,
  schema: Schema | null,
): boolean {
  const traits = schema?.functions.get(name)
  if (schema !== null && (traits === undefined || !isIn(qualifier, traits))) return true
  const facts = { ...noFunctions }
  noteFunction(facts, name, schema)
  return facts.mayWrite
}

function isIn(qualifier: string | null, { builtin, schemas }: FunctionTraits): boolean {
  if (qualifier === null || qualifier === 'pg_catalog') return true
  return !builtin && (schemas === undefined || schemas.includes(qualifier))
}

/** Without a schema nobody knows whether the name is a user's; these are hardly ever. */
function isKnownHarmless(name: string): boolean {
  return aggregates.has(name) || clocks.has(name) || dice.has(name) || sleeps.has(name)
}

/** An entry without a schema is for all schemas; a call without one may mean any entry's. */
function isDenied(name: string, qualifier: string | null, list: ReadonlySet<string>): boolean {
  if (list.has(name)) return true
  if (qualifier !== null) return list.has(`${qualifier}.${name}`)
  return [...list].some((entry) => entry.endsWith(`.${name}`))
}

/** `schemas`: where the function may be; every one of them has to be listed. */
function isListed(
  name: string,
  schemas: string | readonly string[] | undefined,
  list: ReadonlySet<string>,
): boolean {
  if (list.has(name)) return true
  const places = typeof schemas === 'string' ? [schemas] : (schemas ?? ['pg_catalog'])
  return places.length > 0 && places.every((schema) => list.has(`${schema}.${name}`))
}

function noteUserDefined(
  facts: FunctionFacts,
  name: string,
  traits: FunctionTraits | undefined,
): void {
  if (traits?.volatility !== 'immutable') facts.userDefined ??= name
  else if (traits.aggregate === undefined) facts.maybeAggregate ??= name
  if (traits === undefined || traits.volatility === 'volatile') facts.mayWrite = true
}

function belongsToServer(name: string, volatility: string): boolean {
  if (sameOnEveryServer.has(name)) return false
  if (serverNames.has(name) || volatility === 'volatile') return true
  // pg_lsn arithmetic and the like are IMMUTABLE: the same everywhere.
  return volatility !== 'immutable' && serverPrefix.test(name)
}
