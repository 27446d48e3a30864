// Settings of `auth` that are fine alone and wrong together, see contradictions.ts.
import { type Contradiction, error, warning } from './contradiction.ts'
import type { FileSettings } from './settings.ts'

/** What a rule may name that is no database of the file. */
const databaseKeywords = ['all', 'sameuser', 'replication', 'ringfence', '*'] as const

type FileRule = NonNullable<FileSettings['auth']['rules']>[number]

/** Everything in `auth` that cannot be meant that way. */
export function authContradictions(file: FileSettings): Contradiction[] {
  const { auth, databases } = file
  const found: Contradiction[] = []
  const { rules, hba_file: hbaFile, query } = auth
  if (hbaFile !== null && rules !== undefined) {
    const about = [['auth', 'hba_file']]
    found.push(error(['auth', 'rules'], 'hba_file gives the rules', 'keep one of them', about))
  }
  if (rules?.length === 0) {
    const message = 'is empty, so nobody could log in'
    found.push(error(['auth', 'rules'], message, 'remove it, or add a rule'))
  }
  for (const [index, rule] of (rules ?? []).entries()) {
    found.push(...ruleContradictions(['auth', 'rules', index], rule, file))
  }
  const asked = query?.database ?? null
  if (asked !== null && !Object.hasOwn(databases, asked)) {
    const message = `there is no database "${asked}"`
    const about = [['databases']]
    found.push(error(['auth', 'query', 'database'], message, 'name one of "databases"', about))
  }
  const { delay, delay_max: delayMax } = auth.failures
  if (delay > delayMax) {
    const about = [['auth', 'failures', 'delay_max']]
    const at = ['auth', 'failures', 'delay']
    found.push(error(at, 'is longer than delay_max', 'lower it, or raise delay_max', about))
  }
  return found
}

function ruleContradictions(
  at: readonly (string | number)[],
  rule: FileRule,
  { auth, users, databases }: FileSettings,
): Contradiction[] {
  const found: Contradiction[] = []
  const { type, address, method } = rule
  if (type === 'local' && address !== null) {
    const message = 'a Unix socket has no address, so this rule never matches'
    found.push(error([...at, 'address'], message, 'remove the address', [[...at, 'type']]))
  }
  const listed = auth.file === null && auth.query === null && method !== 'any'
  for (const name of listed ? rule.user : []) {
    if (name === 'all' || users.some((user) => user.name === name)) continue
    const message = `no user "${name}" is listed, so this rule never matches`
    found.push(warning([...at, 'user'], message, 'list the user', [['users']]))
  }
  const known = new Set([...databaseKeywords, ...Object.keys(databases)])
  for (const { aliases, read_only_alias: readOnly } of Object.values(databases)) {
    for (const alias of [...aliases, ...(readOnly === null ? [] : [readOnly])]) known.add(alias)
  }
  for (const name of Object.hasOwn(databases, '*') ? [] : rule.database) {
    if (known.has(name)) continue
    const message = `there is no database "${name}", so this rule never matches`
    found.push(warning([...at, 'database'], message, 'correct its name', [['databases']]))
  }
  if (method === 'any') found.push(...anyContradictions(at, databases))
  return found
}

/** Names that nobody has checked must not reach a server as logins. */
function anyContradictions(
  at: readonly (string | number)[],
  databases: FileSettings['databases'],
): Contradiction[] {
  return Object.entries(databases).flatMap(([name, { server_user: serverUser, shards }]) => {
    const own = serverUser === undefined && shards.some(({ primary }) => primary.user === null)
    if (!own) return []
    const message = `any name may log in, but database "${name}" has no server_user`
    const remedy = `add "server_user" to it, or take the method trust`
    return [error([...at, 'method'], message, remedy, [['databases', name]])]
  })
}
