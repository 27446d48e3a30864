// Session guarantees (Terry et al. 1994): read-your-writes, monotonic reads, monotonic writes, writes follow reads. A
// session's past is what had returned before an operation was invoked, over every handover of its token.
// On one key versions tell the order. Across the keys of a shard time does: a state that holds the commit of version w
// holds every commit before it; when version n of another key was known to somebody before w was even invoked, a state
// with w and without n is none.
import type { History } from './history.ts'
import type { VersionOrder } from './history-order.ts'
import type { Guarantee, Violation } from './history-violation.ts'

type Role = 'written' | 'seen'

const roles: readonly Role[] = ['written', 'seen']

/** What a session knows: by key and by shard the operation that says most; indexes of operations. */
class Past {
  readonly keys: Readonly<Record<Role, Map<number, number>>> = {
    written: new Map(),
    seen: new Map(),
  }
  readonly shards: Readonly<Record<Role, Map<number, number>>> = {
    written: new Map(),
    seen: new Map(),
  }
}

/** What an operation must respect: fixed when it is invoked. */
type Demands = Readonly<Record<Role, Int32Array>>

/** Violations of the session guarantees; `shardOf` gives the shard of a key. */
export function checkSessions(
  history: History,
  order: VersionOrder,
  shardOf: (key: number) => number,
): Violation[] {
  return new SessionCheck(history, order, shardOf).run()
}

class SessionCheck {
  readonly #history: History
  readonly #order: VersionOrder
  readonly #shardOf: (key: number) => number
  readonly #pasts = new Map<number, Past>()
  readonly #usesLeft: Map<number, number>
  readonly #handed = new Map<number, Past>()
  readonly #onKey: Demands
  readonly #onShard: Demands
  readonly #violations: Violation[] = []

  constructor(history: History, order: VersionOrder, shardOf: (key: number) => number) {
    this.#history = history
    this.#order = order
    this.#shardOf = shardOf
    const column = () => new Int32Array(history.size).fill(-1)
    this.#onKey = { written: column(), seen: column() }
    this.#onShard = { written: column(), seen: column() }
    this.#usesLeft = usesOf(history)
  }

  run(): Violation[] {
    const history = this.#history
    const invoked = history.sortedBy((index) => history.invokedMs(index))
    const returned = history.sortedBy((index) => history.returnedMs(index))
    let next = 0
    for (const index of returned) {
      // At the same instant nothing is before anything: what is invoked then does not know what returns then.
      const nowMs = history.returnedMs(index)
      for (; next < invoked.length; next += 1) {
        const starting = invoked[next] ?? 0
        if (history.invokedMs(starting) > nowMs) break
        this.#start(starting)
      }
      this.#end(index)
    }
    return this.#violations
  }

  #start(index: number): void {
    const history = this.#history
    if (history.isHandover(index)) {
      const copy = new Past()
      this.#merge(copy, this.#past(history.key(index)))
      this.#handed.set(index, copy)
      return
    }
    const past = this.#pasts.get(history.session(index))
    if (past === undefined) return
    const key = history.key(index)
    for (const role of roles) {
      this.#onKey[role][index] = past.keys[role].get(key) ?? -1
      this.#onShard[role][index] = past.shards[role].get(this.#shardOf(key)) ?? -1
    }
  }

  #end(index: number): void {
    const history = this.#history
    const session = history.session(index)
    if (session < 0) return
    if (history.isHandover(index)) {
      const handed = this.#handed.get(index)
      if (handed !== undefined) this.#merge(this.#past(session), handed)
      this.#handed.delete(index)
      this.#used(history.key(index))
    } else {
      this.#judge(index)
      if (history.isOk(index)) this.#remember(this.#past(session), index)
    }
    this.#used(session)
  }

  #judge(index: number): void {
    const history = this.#history
    const version = history.isWrite(index) ? this.#order.madeBy(index) : history.version(index)
    if (version < 0 || history.isFailed(index)) return
    const names = history.isWrite(index) ? writeNames : readNames
    for (const role of roles) {
      const onKey = this.#onKey[role][index] ?? -1
      const known = history.version(onKey)
      const tooOld = history.isWrite(index) ? version <= known : version < known
      if (onKey >= 0 && tooOld) {
        const what = `key ${history.key(index)} is at version ${version} after ${known}`
        this.#violations.push({ guarantee: names[role], what, earlier: onKey, later: index })
      } else this.#judgeShard(index, version, role)
    }
  }

  /** A read must not miss what was surely committed before something that the session knows. */
  #judgeShard(index: number, version: number, role: Role): void {
    const history = this.#history
    const known = this.#onShard[role][index] ?? -1
    if (known < 0 || !history.isRead(index)) return
    const key = history.key(index)
    const missedBy = this.#order.upper(key, version + 1)
    const knownSince = this.#order.lower(history.key(known), history.version(known))
    if (missedBy >= knownSince) return
    const what =
      `version ${version + 1} of key ${key}, there at ${missedBy.toFixed(3)} ms, is missing ` +
      `though the session knows key ${history.key(known)} as of ${knownSince.toFixed(3)} ms`
    this.#violations.push({ guarantee: readNames[role], what, earlier: known, later: index })
  }

  #remember(past: Past, index: number): void {
    const role = this.#history.isWrite(index) ? 'written' : 'seen'
    this.#offer(past.keys[role], this.#history.key(index), index, (at) => this.#history.version(at))
    this.#offer(past.shards[role], this.#shardOf(this.#history.key(index)), index, (at) =>
      this.#order.lower(this.#history.key(at), this.#history.version(at)),
    )
  }

  #merge(into: Past, from: Past): void {
    for (const role of roles) {
      for (const index of from.keys[role].values()) {
        this.#offer(into.keys[role], this.#history.key(index), index, (at) =>
          this.#history.version(at),
        )
      }
      for (const [shard, index] of from.shards[role]) {
        this.#offer(into.shards[role], shard, index, (at) =>
          this.#order.lower(this.#history.key(at), this.#history.version(at)),
        )
      }
    }
  }

  #offer(
    map: Map<number, number>,
    key: number,
    index: number,
    strength: (index: number) => number,
  ): void {
    const known = map.get(key)
    if (known === undefined || strength(index) > strength(known)) map.set(key, index)
  }

  #past(session: number): Past {
    const known = this.#pasts.get(session)
    if (known !== undefined) return known
    const past = new Past()
    this.#pasts.set(session, past)
    return past
  }

  /** Sessions that are over are forgotten: a history has many more than run at a time. */
  #used(session: number): void {
    const left = (this.#usesLeft.get(session) ?? 1) - 1
    this.#usesLeft.set(session, left)
    if (left === 0) this.#pasts.delete(session)
  }
}

const readNames: Readonly<Record<Role, Guarantee>> = {
  written: 'read-your-writes',
  seen: 'monotonic reads',
}

const writeNames: Readonly<Record<Role, Guarantee>> = {
  written: 'monotonic writes',
  seen: 'writes follow reads',
}

function usesOf(history: History): Map<number, number> {
  const uses = new Map<number, number>()
  const use = (session: number) => uses.set(session, (uses.get(session) ?? 0) + 1)
  for (let index = 0; index < history.size; index += 1) {
    use(history.session(index))
    if (history.isHandover(index)) use(history.key(index))
  }
  return uses
}
