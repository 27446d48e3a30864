// COPY … FROM STDIN into a sharded table: the rows say which shard. The first row chooses it, every further row is
// checked before its bytes are passed on; a row of another shard ends the COPY with nothing kept.
import { type PgError, pgError } from '../../core/errors.ts'
import { type KeyValue, vnodeBitsOf } from '../../router/key-hash.ts'
import type { ShardId } from '../../core/ids.ts'
import type { ServerConnection } from '../../pool/server-connection.ts'
import type { CopyInPlan } from '../../router/plan.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { homeShard, moveOfKey, placeOfKey } from '../../router/topology.ts'
import { writeBindComplete, writeCommandComplete, writeCopyInResponse } from '../../wire/backend.ts'
import { frontend } from '../../wire/codes.ts'
import { CopyRowScanner } from '../../wire/copy.ts'
import { decodeCopyFail, writeCopyData, writeCopyDone, writeCopyFail } from '../../wire/frontend.ts'
import { int8FromText, intFromBinary, uuidFromBinary, uuidFromText } from '../../wire/values.ts'
import { Writer } from '../../wire/writer.ts'
import { type Answer, ask } from '../../pool/exchange.ts'
import { noteLooks } from '../effects.ts'
import type { Session } from '../session.ts'
import { joinShard } from './join-shard.ts'
import { untilUnheld } from './lease.ts'
import type { Unit } from './unit.ts'

const headerBytes = 5
const highWaterBytes = 256 * 1024

/** @throws PgError when the data is malformed, holds rows of several shards, or a server refuses it. */
export async function runCopyIn(session: Session, unit: Unit, copy: CopyInPlan): Promise<void> {
  const { rules } = session.state.database.options
  if (rules === null) throw pgError('internal', ['COPY by key without sharding'])
  if (unit.extended?.bind === true) session.output.emit(writeBindComplete)
  const formats = Array.from({ length: copy.columnCount }, () => (copy.format === 'binary' ? 1 : 0))
  session.output.emit((writer) =>
    writeCopyInResponse(writer, copy.format === 'binary' ? 1 : 0, formats),
  )
  const input = new CopyInput(session, unit, copy, rules)
  try {
    for (;;) {
      const { code, bytes } = await session.nextCopyFrame(unit.extended !== null)
      if (code === frontend.copyData) await input.data(bytes.subarray(headerBytes))
      else if (code === frontend.copyDone) break
      else throw pgError('copyFailed', [decodeCopyFail(bytes)])
    }
    const tag = await input.done()
    session.output.deferMessage((writer) => writeCommandComplete(writer, tag))
  } catch (error) {
    await input.abandon()
    throw error
  }
}

/** One COPY: rows in, the bytes of one shard out. */
class CopyInput {
  readonly #session: Session
  readonly #unit: Unit
  readonly #copy: CopyInPlan
  readonly #rules: ShardingRules
  readonly #scanner: CopyRowScanner
  readonly #bits: number
  #held: Uint8Array[] = []
  /** Of the rows that no server has been sent yet: moves may give them to another shard. */
  #keys: KeyValue[] = []
  #shard: ShardId | null = null
  #server: ServerConnection | null = null
  #answer: Promise<Answer | PgError> | null = null

  constructor(session: Session, unit: Unit, copy: CopyInPlan, rules: ShardingRules) {
    this.#session = session
    this.#unit = unit
    this.#copy = copy
    this.#rules = rules
    const version = Number.parseInt(session.output.parameter('server_version') ?? '', 10)
    this.#scanner = new CopyRowScanner({ ...copy, csvEndMarker: version >= 18 ? 'row' : 'end' })
    this.#bits = vnodeBitsOf(rules.vnodeCount)
  }

  /** Takes one CopyData body; it goes on once every row that ends in it is known to be of the shard. */
  async data(body: Uint8Array): Promise<void> {
    const owned = Uint8Array.from(body)
    this.#scanner.push(owned)
    await this.#checkRows()
    this.#held.push(owned)
    if (this.#shard === null) return
    const server = this.#server ?? (await this.#start(this.#shard))
    for (const chunk of this.#held.splice(0)) server.send(copyData(chunk))
    if (server.pendingBytes <= highWaterBytes) return
    await new Promise<void>((resolve) => server.onDrain(resolve))
  }

  /** The client has sent all; gives the command tag. */
  async done(): Promise<string> {
    this.#scanner.finish()
    await this.#checkRows()
    const home = homeShard(this.#session.state.database.topology)
    const server = this.#server ?? (await this.#start(this.#shard ?? home))
    const writer = new Writer(16)
    for (const chunk of this.#held.splice(0)) server.send(copyData(chunk))
    writeCopyDone(writer)
    server.send(writer.bytes())
    const answer = await this.#answer
    if (answer instanceof Error) throw answer
    return answer?.tags[0] ?? 'COPY 0'
  }

  /** Stops the server's COPY, so that it keeps no row, and waits until it has stopped. */
  async abandon(): Promise<void> {
    if (this.#server === null) return
    const writer = new Writer(64)
    writeCopyFail(writer, 'the proxy gave the COPY up')
    this.#server.send(writer.bytes())
    await this.#answer
  }

  async #checkRows(): Promise<void> {
    for (let row = this.#scanner.next(); row !== undefined; row = this.#scanner.next()) {
      if (row.kind !== 'row') continue
      const key = this.#keyOf(row.key, row.line)
      const shard = await this.#shardOf(key)
      if (this.#server === null) this.#keys.push(key)
      this.#shard ??= shard
      if (shard !== this.#shard) {
        throw pgError('copyOverShards', [this.#copy.relation, row.line, shard, this.#shard])
      }
    }
  }

  /** Owner of the key, once no move holds it. */
  async #shardOf(key: KeyValue): Promise<ShardId> {
    const { state } = this.#session
    for (;;) {
      const { topology, gate } = state.database
      const { vnode, shard } = placeOfKey(topology, key, this.#bits)
      const move = topology.moves.length === 0 ? null : moveOfKey(topology, key, vnode)
      if (move === null || gate?.holds([move], state.leases) !== true) return shard
      await state.leases.waitFor(untilUnheld(this.#session))
    }
  }

  /** True when all rows so far are still the shard's. */
  async #stillOn(shard: ShardId): Promise<boolean> {
    for (const key of this.#keys) if ((await this.#shardOf(key)) !== shard) return false
    return true
  }

  #keyOf(key: Uint8Array | null, line: number): KeyValue {
    const { relation, keyColumn } = this.#copy
    if (key === null) throw pgError('keyMissing', [keyColumn, relation])
    const value = this.#keyValue(key)
    if (value !== undefined) return value
    const text =
      this.#copy.format === 'binary' ? `${key.length} bytes` : Buffer.from(key).toString()
    const detail = `COPY ${relation}, line ${line}, column ${keyColumn}`
    throw pgError('keyInvalid', [this.#rules.keyType, text], { detail })
  }

  #keyValue(key: Uint8Array): KeyValue | undefined {
    const binary = this.#copy.format === 'binary'
    switch (this.#rules.keyType) {
      case 'bigint': {
        const value = binary ? intFromBinary(key) : int8FromText(key)
        return value === undefined ? undefined : { kind: 'bigint', value }
      }
      case 'uuid': {
        const bytes = binary ? uuidFromBinary(key) : uuidFromText(key)
        return bytes === undefined ? undefined : { kind: 'uuid', bytes }
      }
      case 'text':
        return { kind: 'text', bytes: key }
    }
  }

  async #start(shard: ShardId): Promise<ServerConnection> {
    const { state } = this.#session
    const other = state.transaction?.everywhere === true ? undefined : state.transaction?.written
    const elsewhere = other?.find((written) => written !== shard)
    if (elsewhere !== undefined) throw pgError('secondShardWritten', [shard, elsewhere])
    const lease = await joinShard(this.#session, shard, true)
    const { server } = lease
    noteLooks(state, this.#unit, [lease])
    if (!(await this.#stillOn(shard))) throw pgError('vnodesHeld', ['have moved meanwhile'])
    this.#keys = []
    this.#server = server
    this.#answer = ask(server, this.#unit.sql).catch((error: PgError) => error)
    return server
  }
}

function copyData(body: Uint8Array): Uint8Array {
  const writer = new Writer(body.length + headerBytes)
  writeCopyData(writer, body)
  return writer.bytes()
}
