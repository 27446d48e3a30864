// A client's session on a proxy: plans each statement by the topology of now, asks the real MoveGate whether it has to wait,
// leases servers, sends. The order of these steps is that of proxy/execute: what had to wait is planned again.
import { assert } from '../../core/assert.ts'
import type { ShardId } from '../../core/ids.ts'
import { placeOfKey, moveOfKey, type Topology, type TopologyMove } from '../../router/topology.ts'
import { type Cluster, shardOf } from './cluster.ts'
import { ConnectionBroken, ServerRefusal } from './network.ts'
import type { SimulatedProxy } from './proxy.ts'
import { type Row, type Table, type Value, vnodeBits } from './rows.ts'
import { rowsOf, type Shard } from './shard.ts'
import type { SimulatedTransaction } from './transaction.ts'

type SessionLease = {
  readonly server: { exchangesOwed: number }
  readonly shard: Shard
  writes: boolean
  passes: ReadonlySet<number> | null
  /** Its connection has ended: what the server still gets of it is refused. */
  isGone: boolean
  transaction: SimulatedTransaction | null
}

type SessionTransaction = {
  readonly participants: Map<ShardId, boolean>
  readonly everywhere: boolean
}

type Place = { readonly shard: ShardId; readonly moves: readonly TopologyMove[] }

const poolWaitOneIn = 6
const poolWaitMsMax = 600
const longWaitOneIn = 8
const longWaitMsMax = 6_000
const noticedMsMax = 2_500
/** A statement may wait on its server before it looks at anything, as for a lock of its table. */
const slowOneIn = 12
const slowMsMax = 700

export class ProxySession {
  readonly #cluster: Cluster
  readonly #proxy: SimulatedProxy
  readonly leases = new Map<ShardId, SessionLease>()
  transaction: SessionTransaction | null = null
  isClosed = false
  readonly riding = { shard: null, number: 0 }

  constructor(cluster: Cluster, proxy: SimulatedProxy) {
    this.#cluster = cluster
    this.#proxy = proxy
    proxy.sessions.add(this)
  }

  begin(): void {
    this.transaction = { participants: new Map(), everywhere: false }
  }

  /** True when the transaction has written the row's shard, so that its own view is not everybody's. */
  get hasWritten(): boolean {
    return [...(this.transaction?.participants.values() ?? [])].includes(true)
  }

  async read(row: Row): Promise<Value> {
    const lease = await this.#leaseFor(row, false)
    return await this.#send(lease, (shard) => {
      if (lease.transaction !== null) return shard.read(lease.transaction, row)
      return shard.rows.get(row) ?? null
    })
  }

  async write(row: Row, change: (before: Value) => Value): Promise<void> {
    const lease = await this.#leaseFor(row, true)
    lease.writes = true
    await this.#send(lease, async (shard) => {
      const own = lease.transaction ?? shard.begin({ kind: 'client' })
      await shard.write(own, row, change)
      if (lease.transaction === null) shard.commit(own)
    })
  }

  /** What each shard shows of a table. */
  async scatter(table: Table): Promise<readonly ReadonlyMap<Row, Value>[]> {
    for (;;) {
      const topology = await this.#unheld(({ moves }) => moves)
      const leave = this.#proxy.gate.enter()
      try {
        const leases = await this.#leaseAll(topology)
        if (leases === null) continue
        return await Promise.all(
          leases.map((lease) => {
            const hidden = this.#hiddenOn(topology, lease.shard)
            return this.#send(lease, (shard) => shard.readTable(table, hidden))
          }),
        )
      } finally {
        leave()
      }
    }
  }

  async commit(): Promise<void> {
    await this.#end((shard, transaction) => shard.commit(transaction))
  }

  async rollback(): Promise<void> {
    await this.#end((shard, transaction) => shard.abort(transaction))
  }

  /** The client or its proxy is gone: servers notice in time. */
  abandon(): void {
    for (const lease of this.leases.values()) this.#endSoon(lease)
    this.leases.clear()
    this.transaction = null
  }

  close(): void {
    this.isClosed = true
    this.abandon()
    this.#proxy.sessions.delete(this)
  }

  // ---- planning and waiting

  async #leaseFor(row: Row, writes: boolean): Promise<SessionLease> {
    for (;;) {
      const topology = await this.#unheld((now) => this.#placeOf(now, row).moves)
      const { shard } = this.#placeOf(topology, row)
      if (writes) this.#refuseSecond(shard)
      const held = this.leases.get(shard)
      if (held !== undefined) return this.#join(held, shard, writes)
      if (await this.#waitsForPool()) continue
      return this.#join(this.#hold(shard), shard, writes)
    }
  }

  async #leaseAll(topology: Topology): Promise<readonly SessionLease[] | null> {
    const { mutation } = this.#cluster.environment
    let hasWaited = false
    for (const shard of topology.shards) {
      if (!this.leases.has(shard) && (await this.#waitsForPool())) hasWaited = true
    }
    if (hasWaited && mutation !== 'leaseCheckedEarly') {
      // Without a lease meanwhile nobody has waited for what was planned before.
      const { gate, topology: now } = this.#proxy
      if (now !== topology || gate.holds(topology.moves, this.leases)) return null
    }
    return topology.shards.map((shard) => {
      return this.#join(this.leases.get(shard) ?? this.#hold(shard), shard, false)
    })
  }

  /** The topology to plan by, once it holds nothing of the statement. @throws PgError 57P03 */
  async #unheld(movesOf: (topology: Topology) => readonly TopologyMove[]): Promise<Topology> {
    const { gate, process } = this.#proxy
    const { mutation } = this.#cluster.environment
    const sinceMs = process.clock.nowMs()
    for (;;) {
      const { topology } = this.#proxy
      if (topology === null) throw new ServerRefusal('57P03', 'the proxy is starting')
      const moves = movesOf(topology)
      const isHeld = mutation !== 'notHeld' && gate.holds(moves, this.leases)
      if (!isHeld) return topology
      await gate.hold(sinceMs)
      if (mutation === 'planKept') return topology
    }
  }

  #placeOf(topology: Topology, { key, vnode }: Row): Place {
    const { shard } = placeOfKey(topology, key, vnodeBits)
    const move = moveOfKey(topology, key, vnode)
    return { shard, moves: move === null ? [] : [move] }
  }

  #hiddenOn(topology: Topology, { name }: Shard): (row: Row) => boolean {
    const { environment } = this.#cluster
    if (environment.mutation === 'hiddenShown') return () => false
    const sets = [...topology.hidden].flatMap(([id, hidden]) => (id === name ? hidden : []))
    const predicates = sets.map(rowsOf)
    return (row) => predicates.some((contains) => contains(row))
  }

  /** One shard writes in a transaction; another would need two phases. */
  #refuseSecond(shard: ShardId): void {
    for (const [other, wrote] of this.transaction?.participants ?? []) {
      if (wrote && other !== shard) throw new ServerRefusal('0A000', 'a second shard is written')
    }
  }

  async #waitsForPool(): Promise<boolean> {
    const { scheduler } = this.#cluster.environment
    if (!scheduler.random.oneIn(poolWaitOneIn)) return false
    const isLong = scheduler.random.oneIn(longWaitOneIn)
    await this.#proxy.process.sleep(scheduler.between(0, isLong ? longWaitMsMax : poolWaitMsMax))
    return true
  }

  #hold(id: ShardId): SessionLease {
    const shard = shardOf(this.#cluster, id)
    const server = { exchangesOwed: 0 }
    const lease = { server, shard, writes: false, passes: null, isGone: false, transaction: null }
    this.leases.set(id, lease)
    return lease
  }

  #join(lease: SessionLease, id: ShardId, writes: boolean): SessionLease {
    const { transaction } = this
    if (transaction === null) return lease
    const wrote = transaction.participants.get(id) === true
    transaction.participants.set(id, writes || wrote)
    return lease
  }

  // ---- servers

  async #send<T>(lease: SessionLease, work: (shard: Shard) => T | Promise<T>): Promise<T> {
    const { network } = this.#cluster
    const { process } = this.#proxy
    const inside = this.transaction !== null
    lease.server.exchangesOwed += 1
    try {
      return await network.call(process, lease.shard, async () => {
        await this.#slow()
        if (lease.isGone) throw new ServerRefusal('08006', 'the client is gone')
        if (inside) lease.transaction ??= lease.shard.begin({ kind: 'client' })
        return work(lease.shard)
      })
    } catch (error) {
      // The server is discarded, and the transaction is lost with it.
      if (error instanceof ConnectionBroken) {
        this.#endSoon(lease)
        this.#forget(lease)
      }
      throw error
    } finally {
      lease.server.exchangesOwed -= 1
      if (!inside) this.#forget(lease)
    }
  }

  async #slow(): Promise<void> {
    const { scheduler } = this.#cluster.environment
    if (!scheduler.random.oneIn(slowOneIn)) return
    await new Promise<void>((resolve) => {
      scheduler.after(scheduler.between(0, slowMsMax), resolve)
    })
  }

  #forget(lease: SessionLease): void {
    for (const [id, held] of this.leases) if (held === lease) this.leases.delete(id)
  }

  async #end(how: (shard: Shard, transaction: SimulatedTransaction) => void): Promise<void> {
    assert(this.transaction !== null, 'a transaction is ended once')
    try {
      for (const lease of Array.from(this.leases.values())) {
        await this.#send(lease, (shard) => {
          if (lease.transaction !== null) how(shard, lease.transaction)
        })
      }
    } finally {
      for (const lease of this.leases.values()) this.#endSoon(lease)
      this.leases.clear()
      this.transaction = null
    }
  }

  /** The server notices that the connection has ended, and rolls back. */
  #endSoon(lease: SessionLease): void {
    const { scheduler } = this.#cluster.environment
    scheduler.after(scheduler.between(0, noticedMsMax), () => {
      lease.isGone = true
      if (lease.transaction !== null) lease.shard.abort(lease.transaction)
    })
  }
}
