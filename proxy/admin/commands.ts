// The commands of the admin console: which there are, who may use them, and that all workers do or answer them.
import { pgError } from '../../core/errors.ts'
import type { Rows } from '../fleet.ts'
import { adminActions, type AdminAction } from './actions.ts'
import { authorize, type Role } from './gate.ts'
import { Links } from './links.ts'
import { ownViews } from './own-views.ts'
import { plainViews } from './plain-views.ts'
import { poolViews } from './pool-views.ts'
import { socketViews } from './socket-views.ts'
import { statsViews } from './stats-views.ts'
import type { Argument, Command } from './tokens.ts'
import { anyWorker, type Column, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

/** Who asks. `exact`: for PgBouncer's columns and nothing behind them. */
export type Asker = { readonly role: Role; readonly exact: boolean }

type Notice = { readonly message: string; readonly detail?: string }

export type Outcome = {
  /** Null when there is no table to be shown. */
  readonly columns: readonly Column[] | null
  readonly rows: Rows
  readonly notices: readonly Notice[]
  /** Command tag, where it is not the command's name. */
  readonly tag?: string
}

const shows: ReadonlySet<string> = new Set(['show', 'select'])

export class AdminCommands {
  readonly #world: AdminWorld
  readonly #views: ReadonlyMap<string, View>
  readonly #actions: ReadonlyMap<string, AdminAction>

  /** From now on the fleet answers and does what the console asks of it. */
  constructor(world: AdminWorld) {
    this.#world = world
    const links = new Links()
    const suspension = { suspended: false }
    this.#views = new Map<string, View>([
      ...Object.entries(statsViews(world)),
      ...Object.entries(poolViews(world, links)),
      ...Object.entries(socketViews(world, links)),
      ...plainViews(world, suspension),
      ...ownViews(world, links),
    ])
    this.#actions = adminActions(world, suspension)
    for (const [name, { local }] of this.#views) world.fleet.answer(kindOf(name), () => local())
    for (const [name, { local }] of this.#actions) world.fleet.perform(kindOf(name), local)
  }

  /** Columns that `command` answers with; null without a table. @throws PgError 42601, 42501 */
  columnsOf(command: Command, asker: Asker): readonly Column[] | null {
    authorize(asker.role, command)
    if (!shows.has(command.name)) {
      this.#actionOf(command)
      return null
    }
    const name = this.#viewName(command)
    if (name === 'help') return asker.exact ? null : helpColumns
    if (name === 'fds') throw pgError('adminFds')
    const ignored = ignoredValue(name)
    return ignored === null ? shownColumns(this.#view(command), asker) : ignored.columns
  }

  /** Does it. `values` are those of its parameters. @throws PgError why it was not done */
  async run(command: Command, values: readonly (string | null)[], asker: Asker): Promise<Outcome> {
    authorize(asker.role, command)
    if (shows.has(command.name)) return this.#show(command, asker)
    const action = this.#actionOf(command)
    const args = command.args.map((arg) => textOf(arg, values, command))
    const said = await action.run(args)
    const tag = action.tag?.(args)
    return {
      columns: null,
      rows: [],
      notices: said.map((message) => ({ message })),
      ...(tag === undefined ? {} : { tag }),
    }
  }

  async #show(command: Command, asker: Asker): Promise<Outcome> {
    const columns = this.columnsOf(command, asker)
    const name = this.#viewName(command)
    const answer = { columns, notices: [], tag: 'SHOW' }
    if (name === 'help') return { ...answer, ...this.#help(asker) }
    const ignored = ignoredValue(name)
    if (ignored !== null) return { ...answer, rows: ignored.local() }
    const snapshots = await this.#world.fleet.snapshots(kindOf(name), [])
    const rows = this.#view(command).gather(snapshots)
    return { ...answer, rows: rows.map((row) => row.slice(0, columns?.length)) }
  }

  /** PgBouncer tells its commands in a notice; who asks for ours gets a table. */
  #help({ exact }: Asker): Pick<Outcome, 'rows' | 'notices'> {
    const names = [...this.#views.keys(), 'fds', 'help']
    const usages = [
      ...names.map((name) => `SHOW ${name.toUpperCase()}`),
      ...[...this.#actions.values()].flatMap(({ usage }) => usage),
    ]
    if (!exact) return { rows: usages.map((usage) => [usage]), notices: [] }
    const shown = `SHOW ${names.map((name) => name.toUpperCase()).join('|')}`
    const others = [...this.#actions.values()].flatMap(({ usage }) => usage)
    const detail = ['', shown, ...others].join('\n\t')
    return { rows: [], notices: [{ message: 'Console usage', detail }] }
  }

  #viewName({ args, text }: Command): string {
    const [what, ...others] = args
    if (what === undefined || !('text' in what) || others.length > 0) {
      throw pgError('adminCommandUnknown', [text])
    }
    return what.text.toLowerCase()
  }

  #view(command: Command): View {
    const view = this.#views.get(this.#viewName(command))
    if (view === undefined) throw pgError('adminCommandUnknown', [command.text])
    return view
  }

  #actionOf({ name, args, text }: Command): AdminAction {
    const action = this.#actions.get(name)
    if (action === undefined || !action.takes(args.length)) {
      throw pgError('adminCommandUnknown', [text])
    }
    return action
  }
}

const helpColumns: readonly Column[] = [{ name: 'command', type: 'text' }]

function kindOf(name: string): string {
  return `admin ${name}`
}

function shownColumns({ columns, own }: View, { exact }: Asker): readonly Column[] {
  return exact ? columns : [...columns, ...own]
}

/** What drivers ask of every server before they do anything else. */
function ignoredValue(name: string): View | null {
  const value = standardValues.get(name)
  return value === undefined ? null : anyWorker(name, '', () => [[value]])
}

const standardValues: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF8'],
  ['datestyle', 'ISO'],
  ['default_transaction_isolation', 'read committed'],
  ['extra_float_digits', '1'],
  ['standard_conforming_strings', 'on'],
  ['timezone', 'UTC'],
])

function textOf(arg: Argument, values: readonly (string | null)[], { text }: Command): string {
  if ('text' in arg) return arg.text
  const value = values[arg.param - 1]
  if (value === undefined || value === null) throw pgError('adminValueInvalid', [text, 'null'])
  return value
}
