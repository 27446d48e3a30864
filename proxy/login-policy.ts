// Everything that logins are judged by: users and where they come from, rules, what failed logins cost, how many clients
// may be at it at once. A reload replaces it piece by piece; the user list is read again when its file changes.
import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { unwatchFile, watchFile } from 'node:fs'
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { DialOptions } from '../pool/dial.ts'
import { Accounts, type UserOptions } from './accounts.ts'
import { consoleName, isConsole } from './admin/open.ts'
import { AuthQuery, type AuthQueryOptions, type LookupPlace } from './auth-query.ts'
import { type AuthRuleOptions, AuthRules } from './auth-rules.ts'
import type { UserMapEntry } from './client-certificate.ts'
import { parseHbaFile } from './hba-file.ts'
import { LoginAdmission } from './login-admission.ts'
import { type FailureOptions, LoginFailures } from './login-failures.ts'
import { parseUserList } from './user-list.ts'

/** Users besides those of the configuration, and what failed logins cost. */
export type AuthOptions = {
  /** Rules as in pg_hba.conf in place of the others; null: none. */
  readonly hbaFile: string | null
  /** PgBouncer's userlist.txt; null: none. */
  readonly file: string | null
  readonly query: AuthQueryOptions | null
  readonly failures: FailureOptions
  /** Whom client certificates name; absent: none by map. */
  readonly userMap?: readonly UserMapEntry[]
}

export type LoginPolicyOptions = {
  readonly users: readonly UserOptions[]
  readonly authRules: readonly AuthRuleOptions[]
  /** Absent: no other users, and failed logins cost nothing. */
  readonly auth?: AuthOptions
  readonly limits: {
    /** Clients that may be logging in at once; absent: 10,000. */
    readonly loginsMax?: number
  }
}

type LoginPolicyContext = {
  readonly dial: DialOptions
  readonly clock: Clock
  readonly log: Log
  /** Where users of a database are looked up, of the first one for ''; null: there is no such database. */
  readonly placeOf: (database: string) => LookupPlace | null
}

type Files = {
  readonly rules: readonly AuthRuleOptions[]
  readonly list: ReadonlyMap<string, string>
}

const none: AuthOptions = {
  hbaFile: null,
  file: null,
  query: null,
  failures: { max: 0, windowMs: 0, delayMs: 0, delayMsMax: 0 },
}
const loginsMaxStandard = 10_000
/** How often the user list is looked at. */
const watchIntervalMs = 1_000

export class LoginPolicy {
  readonly accounts: Accounts
  readonly admission: LoginAdmission
  readonly #context: LoginPolicyContext
  #rules = new AuthRules([])
  #failures: LoginFailures
  #failureKey = ''
  #userMap: readonly UserMapEntry[] = []
  #query: AuthQuery | null = null
  #watched: string | null = null

  /** Nobody may log in before configure(); `options` are those of the start. */
  constructor(options: LoginPolicyOptions, context: LoginPolicyContext) {
    this.#context = context
    this.accounts = new Accounts(mockSecretOf(options))
    this.#failures = new LoginFailures(none.failures, context.clock)
    this.admission = new LoginAdmission(loginsMaxStandard, context.clock)
  }

  get rules(): AuthRules {
    return this.#rules
  }

  get userMap(): readonly UserMapEntry[] {
    return this.#userMap
  }

  get failures(): LoginFailures {
    return this.#failures
  }

  /** Goes by these options from now on. @throws Error naming file and line that are wrong; then nothing has changed */
  async configure(options: LoginPolicyOptions): Promise<void> {
    const apply = await this.prepare(options)
    apply()
  }

  /** Reads what the options name; what it gives puts them in force. @throws Error naming file and line that are wrong */
  async prepare(options: LoginPolicyOptions): Promise<() => void> {
    const files = await readFiles(options.authRules, options.auth ?? none)
    return () => this.#adopt(options, files)
  }

  #adopt(options: LoginPolicyOptions, { rules, list }: Files): void {
    const auth = options.auth ?? none
    const { clock } = this.#context
    this.accounts.configure(options.users)
    this.accounts.list(list)
    const { placeOf } = this.#context
    this.#rules = new AuthRules(rules, (name) => {
      if (name === '') return ''
      return placeOf(name)?.name ?? (isConsole(name) ? consoleName : name)
    })
    this.#userMap = auth.userMap ?? []
    this.admission.max = options.limits.loginsMax ?? loginsMaxStandard
    // What is known of failures outlives a reload that does not change how they count.
    const failureKey = JSON.stringify(auth.failures)
    if (failureKey !== this.#failureKey) this.#failures = new LoginFailures(auth.failures, clock)
    this.#failureKey = failureKey
    this.#lookUpWith(auth.query)
    this.#watch(auth.file)
  }

  close(): void {
    this.#watch(null)
    this.#lookUpWith(null)
  }

  #lookUpWith(options: AuthQueryOptions | null): void {
    this.#query?.close()
    const password = options && (options.password ?? this.accounts.passwordOf(options.user))
    this.#query = options === null ? null : new AuthQuery({ ...options, password }, this.#context)
    this.accounts.lookUpWith(this.#query)
  }

  #watch(file: string | null): void {
    if (this.#watched === file) return
    if (this.#watched !== null) unwatchFile(this.#watched, this.#listAgain)
    this.#watched = file
    if (file === null) return
    watchFile(file, { interval: watchIntervalMs, persistent: false }, this.#listAgain)
  }

  readonly #listAgain = (): void => {
    const file = this.#watched
    if (file === null) return
    const { log } = this.#context
    readUserList(file).then(
      (list) => {
        if (file !== this.#watched) return
        this.accounts.list(list)
        log.info({ file, users: list.size }, 'the user list was read again')
      },
      (error: unknown) => {
        log.error({ file, reason: reasonOf(error) }, 'the user list is wrong, the old one holds')
      },
    )
  }
}

/** Nobody outside can know it, and every process with this configuration has the same. */
function mockSecretOf({ users, auth }: LoginPolicyOptions): Uint8Array {
  const password = auth?.query?.password ?? null
  const secrets = [users.map(({ secret }) => secret), password]
  return users.length > 0 || password !== null
    ? createHash('sha256')
        .update(`mock ${JSON.stringify(secrets)}`)
        .digest()
    : randomBytes(32)
}

async function readFiles(rules: readonly AuthRuleOptions[], auth: AuthOptions): Promise<Files> {
  const { file, hbaFile } = auth
  return {
    list: file === null ? new Map() : await readUserList(file),
    rules: hbaFile === null ? rules : await readHbaFile(hbaFile),
  }
}

const readUserList = (file: string) => readAs(file, parseUserList)
const readHbaFile = (file: string) => readAs(file, parseHbaFile)

/** @throws Error naming file and line that are wrong */
async function readAs<T>(file: string, parse: (text: string) => T): Promise<T> {
  const text = await readFile(file, 'utf8')
  try {
    return parse(text)
  } catch (cause) {
    throw new Error(`${file}, ${reasonOf(cause)}`, { cause })
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
