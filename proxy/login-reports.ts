// What servers report of a client's settings (ParameterStatus), asked once for each profile and remembered: a login costs
// no server then.
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import { ask } from '../pool/exchange.ts'
import type { Pool } from '../pool/pool.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import { SettingsProfile } from '../pool/settings-profile.ts'
import type { Credentials } from './database-options.ts'
import { leaseOnce } from '../pool/lease-once.ts'
import type { ClientStartup } from './startup-parameters.ts'

/** ParameterStatus values that a client with these settings is told at login. */
export type ReportedParameters = ReadonlyMap<string, string>

/** What a session begins with; the same objects for all clients that ask for the same. */
type Beginning = {
  readonly settings: SettingsProfile
  readonly reported: ReportedParameters
}

/** What servers have answered, which had these values before any setting was made. */
type Answered = {
  readonly reported: ReportedParameters
  readonly defaults: ReportedParameters
}

const profileEntriesMax = 1_000
/** Settings are looked at in no time: a server that takes longer hangs, and others may not. */
const answerMsMax = 10_000

export class LoginReports {
  readonly #poolFor: (client: Credentials) => Pool
  readonly #sharded: boolean
  readonly #clock: Clock
  readonly #reported = new Map<string, Answered>()
  readonly #reporting = new Map<string, Promise<ReportedParameters>>()
  /** By user and settings, application_name included. */
  readonly #beginnings = new Map<string, Beginning & { readonly known: ReportedParameters }>()

  /** `poolFor`: servers that can validate settings for that client. */
  constructor(poolFor: (client: Credentials) => Pool, sharded: boolean, clock: Clock) {
    this.#poolFor = poolFor
    this.#sharded = sharded
    this.#clock = clock
  }

  /**
   * What a client is told at login. application_name differs from client to client: it is not asked for.
   * @throws PgError 0A000 for an encoding in which shard keys could not be read
   */
  async atLogin(startup: ClientStartup, client: Credentials): Promise<Beginning> {
    const { settings, applicationName } = startup
    const asked = applicationName === null ? settings : settings.without('application_name')
    const known = await this.of(asked, client)
    const encoding = known.get('client_encoding') ?? 'UTF8'
    if (this.#sharded && encoding !== 'UTF8') {
      throw pgError('encodingUnsupported', [encoding])
    }
    const key = `${client.name}\0${settings.key}`
    const shared = this.#beginnings.get(key)
    if (shared?.known === known) {
      return settings.hasOwn ? { settings, reported: shared.reported } : shared
    }
    const reported =
      applicationName === null ? known : new Map([...known, ['application_name', applicationName]])
    if (settings.hasOwn) return { settings, reported }
    if (this.#beginnings.size >= profileEntriesMax) this.#beginnings.clear()
    const beginning = { settings, reported, known }
    this.#beginnings.set(key, beginning)
    return beginning
  }

  /**
   * What a server reports to a client with `settings`, validated by a server the first time.
   * @throws PgError the server's own refusal of a setting, or why none could be reached.
   */
  async of(settings: SettingsProfile, client: Credentials): Promise<ReportedParameters> {
    const pool = this.#poolFor(client)
    // Where all clients are one user to the servers, they are told the same.
    const key = `${pool.user}\0${settings.key}`
    const known = this.#reported.get(key)
    const { defaults } = newestOf(pool) ?? {}
    if (known !== undefined) {
      if (defaults === undefined || defaults === known.defaults) return known.reported
      const answered = underDefaults(known, defaults, settings)
      if (answered !== null) {
        this.#reported.set(key, answered)
        return answered.reported
      }
    }
    // Clients that come all at once ask once.
    const asked = this.#reporting.get(key)
    if (asked !== undefined) return asked
    const asking = this.#askReported(settings, { pool, share: client.name, key })
    this.#reporting.set(key, asking)
    try {
      return await asking
    } finally {
      this.#reporting.delete(key)
    }
  }

  async #askReported(
    settings: SettingsProfile,
    { pool, share, key }: { readonly pool: Pool; readonly share: string; readonly key: string },
  ): Promise<ReportedParameters> {
    const server = await leaseOnce(pool, settings, share)
    const deadline = this.#clock.after(answerMsMax, () =>
      server.close(`no answer within ${answerMsMax} ms`),
    )
    try {
      // Apart from what is put in force: a standby that is SERIALIZABLE by default runs nothing but this.
      const resets = SettingsProfile.empty.replayFrom(server.settings)
      if (resets !== '') await this.#reset(server, resets)
      server.settings = SettingsProfile.empty
      const replay = settings.replayFrom(SettingsProfile.empty)
      if (replay !== '') await ask(server, replay)
      server.settings = settings
      const reported = new Map(server.parameters)
      if (reported.has('in_hot_standby')) reported.set('in_hot_standby', 'off')
      if (this.#reported.size >= profileEntriesMax) this.#reported.clear()
      // Of one that was opened before its defaults were changed it is asked once, not by each login.
      this.#reported.set(key, { reported, defaults: (newestOf(pool) ?? server).defaults })
      return reported
    } finally {
      deadline.cancel()
      pool.release(server)
    }
  }

  /** One that keeps what somebody has set would keep it for everybody to come. */
  async #reset(server: ServerConnection, sql: string): Promise<void> {
    try {
      await ask(server, sql)
    } catch (error) {
      server.close('its settings could not be taken back')
      throw error
    }
  }
}

function newestOf(pool: Pool): ServerConnection | undefined {
  let newest: ServerConnection | undefined
  for (const server of pool.connections) newest = server
  return newest
}

/**
 * The same answer of a server that begins with `defaults`, as after ALTER DATABASE … SET or with another version; null when
 * it has to be asked.
 */
function underDefaults(
  { reported, defaults: before }: Answered,
  defaults: ReportedParameters,
  settings: SettingsProfile,
): Answered | null {
  const changed = [...defaults].filter(
    ([name, value]) => before.get(name) !== value && name !== 'in_hot_standby',
  )
  if (changed.length === 0) return { reported, defaults }
  const set = (name: string) => settings.get(name.toLowerCase()) !== undefined
  if (['role', 'session_authorization'].some(set)) return null
  if (changed.some(([name]) => set(name))) return null
  return { reported: new Map([...reported, ...changed]), defaults }
}
