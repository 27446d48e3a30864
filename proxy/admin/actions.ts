// What the admin console does: every command is done by all workers, each for its own pools and clients.
import { pgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import type { Database } from '../database.ts'
import type { Deed } from '../fleet.ts'
import { ignoredSettings } from './gate.ts'
import type { AdminWorld, ShutdownMode } from './world.ts'

export type AdminAction = {
  /** As SHOW HELP tells it. */
  readonly usage: readonly string[]
  /** Whether it takes so many words behind its name. */
  readonly takes: (count: number) => boolean
  /** Has it done; gives what there is to say. @throws PgError why it was not done */
  readonly run: (args: readonly string[]) => Promise<readonly string[]>
  /** What one worker does of it. */
  readonly local: Deed
  readonly tag?: (args: readonly string[]) => string
}

/** What SUSPEND has left behind in this process. */
export type Suspension = { suspended: boolean }

/** By name, lower case. */
export function adminActions(
  world: AdminWorld,
  suspension: Suspension,
): ReadonlyMap<string, AdminAction> {
  const { fleet, sessions } = world
  const actions = new Map<string, AdminAction>()
  const add = (name: string, action: Omit<AdminAction, 'run'> & Partial<AdminAction>) => {
    const run = (args: readonly string[]) => fleet.everywhere(`admin ${name}`, args)
    actions.set(name, { run, ...action })
  }
  const onDatabase = (name: string, words: Words, deed: DatabaseDeed) => {
    const { usage, min, max } = words
    add(name, {
      usage: [`${name.toUpperCase()} ${usage}`.trimEnd()],
      takes: (count) => count >= min && count <= max,
      local: (args) => onDatabases(world, args, deed),
    })
  }
  onDatabase('pause', maybeShard, async (database, shard) => database.pause(shard))
  onDatabase('resume', maybeShard, async (database, shard) => {
    database.resume(shard)
    if (shard !== null) return
    database.control.wake(sessions)
    suspension.suspended = false
  })
  onDatabase('disable', oneDatabase, async ({ control }) => control.disable())
  onDatabase('enable', oneDatabase, async ({ control }) => control.enable())
  onDatabase('reconnect', maybeDatabase, async ({ control }) => control.reconnect())
  onDatabase('wait_close', maybeDatabase, async ({ control }) => control.waitClose())
  onDatabase('kill', maybeDatabase, async ({ control }) => control.kill(sessions))
  onDatabase('suspend', nothing, async ({ control }) => {
    suspension.suspended = true
    await control.suspend(sessions)
  })
  add('reload', { usage: ['RELOAD'], takes: (count) => count === 0, local: () => reload(world) })
  add('upgrade', { usage: ['UPGRADE'], takes: (count) => count === 0, local: () => upgrade(world) })
  add('kill_client', killClient(world))
  add('set', setSetting(world))
  add('shutdown', shutdown(world))
  return actions
}

type Words = { readonly usage: string; readonly min: number; readonly max: number }

const nothing: Words = { usage: '', min: 0, max: 0 }
const oneDatabase: Words = { usage: '<database>', min: 1, max: 1 }
const maybeDatabase: Words = { usage: '[<database>]', min: 0, max: 1 }
const maybeShard: Words = { usage: '[<database> [<shard>]]', min: 0, max: 2 }

type DatabaseDeed = (database: Database, shard: ShardId | null) => Promise<unknown>

/** `[<database> [<shard>]]`. @throws PgError 3D000 for a name that the configuration lacks */
async function onDatabases(
  world: AdminWorld,
  [name, shardName]: readonly string[],
  deed: DatabaseDeed,
): Promise<readonly string[]> {
  const named = name === undefined ? world.databases() : [await databaseOf(world, name)]
  const targets = named.map((database) => ({ database, shard: shardIn(database, shardName) }))
  await Promise.all(targets.map(({ database, shard }) => deed(database, shard)))
  return []
}

/** Of the entry `*` only some workers may have opened it, and clients may come to the others. */
async function databaseOf({ databases, take }: AdminWorld, name: string): Promise<Database> {
  const database = databases().find(({ options }) => options.name === name) ?? (await take(name))
  if (database === null) throw pgError('adminTargetUnknown', ['database', name])
  return database
}

function shardIn({ options }: Database, name: string | undefined): ShardId | null {
  if (name === undefined) return null
  const shard = options.shards.find(({ id }) => id === name)
  if (shard === undefined) throw pgError('adminTargetUnknown', ['shard', name])
  return shard.id
}

async function reload(world: AdminWorld): Promise<readonly string[]> {
  if (world.reload === null) throw pgError('reloadRefused', ['there is no file to read again'])
  try {
    return await world.reload()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw pgError('reloadRefused', [reason], { cause })
  }
}

async function upgrade(world: AdminWorld): Promise<readonly string[]> {
  if (world.upgrade === null)
    throw pgError('adminState', ['this proxy cannot start another process'])
  return await world.upgrade()
}

const found = 'it was there'

/** Of all workers one at most has that client. */
function killClient({ fleet, sessions }: AdminWorld): AdminAction {
  return {
    usage: ['KILL_CLIENT <id>'],
    takes: (count) => count === 1,
    run: async (args) => {
      const [id = ''] = args
      if (!/^\d{1,10}$/.test(id)) throw pgError('adminValueInvalid', ['KILL_CLIENT', `"${id}"`])
      const said = await fleet.everywhere('admin kill_client', args)
      if (said.length === 0) throw pgError('adminTargetUnknown', ['client', id])
      return []
    },
    local: async ([id]) => {
      const session = sessions.find(Number(id))
      if (session === undefined) return []
      void session.cancel()
      session.fatal(pgError('killedByAdmin'))
      return [found]
    },
  }
}

/** What `SET key = value` or `SET key TO value` asks for; `ignored`: nothing of ours. @throws PgError 42601 */
export function wantedSetting([key = '', sign = '', value = '']: readonly string[]) {
  if (sign !== '=' && sign.toLowerCase() !== 'to') {
    throw pgError('adminCommandUnknown', [`SET ${key} ${sign} ${value}`])
  }
  return { key, value, ignored: ignoredSettings.has(key.toLowerCase()) }
}

function setSetting(world: AdminWorld): Omit<AdminAction, 'run'> {
  return {
    usage: ['SET <key> = <value>'],
    takes: (count) => count === 3,
    local: async (args) => {
      const { key, value, ignored } = wantedSetting(args)
      if (ignored) return ['SET ignored']
      if (world.set === null) throw pgError('adminSettingFixed', [key])
      return await world.set(key, value)
    },
    tag: (args) => {
      const { key, value, ignored } = wantedSetting(args)
      return ignored ? 'SET' : `SET ${key}=${value}`
    },
  }
}

const modes: Readonly<Record<string, ShutdownMode>> = {
  wait_for_servers: 'servers',
  wait_for_clients: 'clients',
}

function shutdown({ shutdown: end }: AdminWorld): Omit<AdminAction, 'run'> {
  return {
    usage: ['SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]'],
    takes: (count) => count <= 1,
    local: async ([word]) => {
      const mode = word === undefined ? 'now' : modes[word.toLowerCase()]
      if (mode === undefined) throw pgError('adminCommandUnknown', [`SHUTDOWN ${word}`])
      if (end === null) throw pgError('adminState', ['this proxy cannot end its process'])
      await end(mode)
      return []
    },
  }
}
