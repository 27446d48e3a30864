// Orders that stay in force, such as PAUSE: a worker that starts later, because another one has died, must begin with
// them. An order is taken back by its counterpart with the same arguments, or with fewer: RESUME of a database also
// ends the pause of one shard. RELOAD takes every SET back, and a database that KILL has emptied is paused.

/** A command and what it is about. */
export type Order = { readonly name: string; readonly args: readonly string[] }

/** As the admin console calls them. */
const endedBy: ReadonlyMap<string, readonly string[]> = new Map([
  ['admin resume', ['admin pause', 'admin suspend']],
  ['admin enable', ['admin disable']],
  ['admin reload', ['admin set']],
])
/** What a command leaves behind where it is not the command itself. */
const standsAs: ReadonlyMap<string, string> = new Map([['admin kill', 'admin pause']])
const standing = new Set(['admin pause', 'admin suspend', 'admin disable', 'admin set'])

const ofDatabases = new Set(
  ['pause', 'resume', 'reconnect', 'wait_close', 'kill', 'suspend', 'disable', 'enable'].map(
    (name) => `admin ${name}`,
  ),
)

/** True for what concerns all clients and servers of a database, also those of a process that was replaced. */
export function isOfDatabases({ name }: Order): boolean {
  return ofDatabases.has(name)
}

/** Orders in force after `order` has been carried out. */
export function afterOrder(inForce: readonly Order[], given: Order): readonly Order[] {
  const { args } = given
  const name = standsAs.get(given.name) ?? given.name
  const ended = endedBy.get(name) ?? []
  if (ended.length === 0 && !standing.has(name)) return inForce
  const about = name === 'admin set' ? args.slice(0, 1) : args
  const kept = inForce.filter((each) => {
    return !(hasPrefix(each.args, about) && (ended.includes(each.name) || each.name === name))
  })
  return standing.has(name) ? [...kept, { name, args }] : kept
}

/**
 * Orders in force after `failed`, which was given when those of `before` were: what it took back is in force again, and
 * what others have ordered meanwhile stays.
 */
export function afterFailure(
  inForce: readonly Order[],
  before: readonly Order[],
  failed: Order,
): readonly Order[] {
  const has = (orders: readonly Order[], order: Order) => orders.some((each) => isSame(each, order))
  const tried = afterOrder(before, failed)
  const own = tried.filter((each) => !has(before, each))
  // Whoever has taken it back meanwhile would have taken back these, too.
  if (own.some((each) => !has(inForce, each))) return inForce
  const ended = before.filter((each) => !has(tried, each))
  return [...inForce.filter((each) => !has(own, each)), ...ended]
}

/** Of `inForce`, what a new process goes on with: it has read the file anew. */
export function bequeathed(inForce: readonly Order[]): readonly Order[] {
  return afterOrder(inForce, { name: 'admin reload', args: [] })
}

function isSame(a: Order, b: Order): boolean {
  return a.name === b.name && a.args.length === b.args.length && hasPrefix(a.args, b.args)
}

function hasPrefix(args: readonly string[], prefix: readonly string[]): boolean {
  return prefix.every((arg, place) => args[place] === arg)
}
