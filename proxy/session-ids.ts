// What one session did under session ids, on its way to Redis. Whoever shares an id may read elsewhere as soon as
// this client is told: so the positions are published before its ReadyForQuery.
import { pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { LateSet } from '../core/late.ts'
import type { Lsn } from '../core/lsn.ts'
import { covers, type Position, type Positions } from '../core/position.ts'
import { waitForSample } from '../pool/sample-wait.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { Database } from './database.ts'
import type { Leases } from './leases.ts'
import { ownNames, sessionIdParts, sessionIdsOf } from './own-settings.ts'
import { askLsn } from './sampled-hosts.ts'
import type { SessionPositions } from './session-positions.ts'

type Asked = { readonly server: ServerConnection; readonly lsn: Promise<Lsn | null> }
type Fetched = { readonly id: string; readonly positions: Positions }

const positionWaitMs = 2_000

export class SessionIds {
  readonly #database: Database
  readonly #positions: SessionPositions
  /** Ids of what was done since the client was last told that all is over. */
  readonly #owed = new LateSet<string>()
  #published = false
  #asked: Asked | null = null
  /** What Redis holds for the one id of the command. */
  #fetched: Fetched | null = null

  constructor(database: Database, positions: SessionPositions) {
    this.#database = database
    this.#positions = positions
  }

  nextCommand(): void {
    this.#published = false
    this.#asked = null
    this.#fetched = null
  }

  /** What was done until now was done under these ids. */
  owe(ids: readonly string[]): void {
    for (const id of ids) this.#owed.add(id)
  }

  /** All that was done has been published, as far as it has to be. */
  owesNothing(): void {
    this.#owed.clear()
  }

  /** Redis holds these positions for `ids`, merged. */
  fetched(ids: readonly string[], positions: Positions): void {
    const [id] = ids
    // Of several, any may hold less than all together.
    this.#fetched = id === undefined || ids.length > 1 ? null : { id, positions }
  }

  /** True when somebody else may want to know what the session does. */
  inUse(settings: SettingsProfile): boolean {
    return this.#owed.size > 0 || (settings.own(ownNames.sessionId) ?? '') !== ''
  }

  /** Asks for the position behind a read that was just sent, in the same write; needed only if there are ids. */
  askBehind(server: ServerConnection, settings: SettingsProfile): void {
    if (this.inUse(settings) && this.#hostOf(server) !== null)
      this.#asked = { server, lsn: askLsn(server) }
  }

  /** True when what was done on `leases` is to be known under session ids before the client goes on. */
  mustPublish(settings: SettingsProfile, leases: Leases): boolean {
    if (this.#published || leases.isEmpty) return false
    return this.inUse(settings)
  }

  /**
   * Puts the positions that `leases` have reached under the session's ids. A Redis that is away is no failure; `asked` is
   * called once the servers have said where they are: Redis may take longer, and others wait for them.
   * @throws PgError 08006 when a shard cannot tell: to go on would be to acknowledge what others may miss
   */
  async publish(settings: SettingsProfile, leases: Leases, asked: () => void): Promise<void> {
    this.#published = true
    const store = this.#database.tokens
    this.owe(sessionIdsOf(settings.own(ownNames.sessionId)))
    if (store === null) return
    const positions = new Map<ShardId, Position>()
    await Promise.all(
      [...leases].map(async ({ server }) => {
        if (this.#hostOf(server) === null) return
        const position = await this.#positionOn(server)
        if (position === null) throw pgError('positionLost', [server.shard])
        positions.set(server.shard, position)
        if (server.target.role === 'primary') this.#positions.reached(server.shard, position)
        else this.#positions.merge(new Map([[server.shard, position]]))
      }),
    )
    const ids = [...this.#owed]
    asked()
    if (positions.size > 0 && !this.#isKnown(ids, positions)) {
      await Promise.all(sessionIdParts(ids).map((part) => store.publish(part, positions)))
    }
    this.#owed.clear()
  }

  /** True when Redis holds as much already: nothing was written there since the command was begun. */
  #isKnown(ids: readonly string[], positions: Positions): boolean {
    const fetched = this.#fetched
    if (fetched === null || ids.length !== 1 || ids[0] !== fetched.id) return false
    return [...positions].every(([shard, position]) => {
      const held = fetched.positions.get(shard)
      return held !== undefined && covers(held, position)
    })
  }

  #hostOf(server: ServerConnection) {
    return this.#database.serversOf(server.shard).hostOf(server)
  }

  /** What a statement that has just ended on `server` has written or seen. */
  async #positionOn(server: ServerConnection): Promise<Position | null> {
    const { monitor } = this.#database.serversOf(server.shard)
    const host = this.#hostOf(server)
    if (monitor === null || host === null) return null
    const { clock } = this.#database
    const atMs = clock.nowMs()
    const { status } = host
    const asks = !server.closed && server.transactionStatus === 'I'
    if (asks && status.kind === 'up' && status.sample.incarnation === server.incarnation) {
      const { systemId, timeline } = status.sample
      const lsn = await (this.#asked?.server === server ? this.#asked.lsn : askLsn(server))
      if (lsn !== null) return { systemId, timeline, lsn }
    }
    // Nothing that a replica has shown, and nothing that is left of its own past, is beyond the present primary.
    const known = () => host.positionAfter(atMs) ?? monitor.primary?.positionAfter(atMs) ?? null
    await waitForSample(monitor, () => known() !== null, { clock, waitMs: positionWaitMs })
    return known()
  }
}
