// All processes that serve the same port, as one of them sees them. What the admin console and the metrics show is
// gathered from all, and what an operator orders is done by all. A proxy of one process is a fleet of one; how
// several talk to each other is the affair of cli/workers.
import { pgError } from '../core/errors.ts'

/** One value of a table that is shown; it survives JSON. */
export type Cell = string | number | null

export type Rows = readonly (readonly Cell[])[]

/** What one worker has answered. */
export type Snapshot = {
  /** Counted from 1; 0 when there is one process and no worker. */
  readonly worker: number
  readonly rows: Rows
}

export type Answer = (args: readonly string[]) => Rows | Promise<Rows>

/** Gives what it has to say of it, one sentence each. @throws PgError why it was not done */
export type Deed = (args: readonly string[]) => Promise<readonly string[]>

export interface Fleet {
  /** This process: counted from 1; 0 when it is alone. */
  readonly worker: number
  /** Processes that serve; 1 when this one is alone. */
  readonly size: number
  /** What `kind` is in every worker, in their order. Who does not answer in time is left out. */
  snapshots(kind: string, args: readonly string[]): Promise<readonly Snapshot[]>
  /**
   * Has every worker do it, this one too; resolves once all have done it, with what they said: the same sentence
   * once. @throws PgError of the first that refused; the others may have done it
   */
  everywhere(command: string, args: readonly string[]): Promise<readonly string[]>
  /** How this process answers `kind`. */
  answer(kind: string, by: Answer): void
  /** How this process does `command`. */
  perform(command: string, by: Deed): void
  /** Has the process that gave the key cancel what its client does; resolves once that was delivered, or nobody knows the key. */
  cancel(pid: number, secret: Uint8Array): Promise<void>
}

/** What one process knows how to answer and to do. */
export class FleetMember {
  readonly #answers = new Map<string, Answer>()
  readonly #deeds = new Map<string, Deed>()

  answer(kind: string, by: Answer): void {
    this.#answers.set(kind, by)
  }

  perform(command: string, by: Deed): void {
    this.#deeds.set(command, by)
  }

  /** @throws PgError XX000 for a kind that nobody answers */
  async snapshot(kind: string, args: readonly string[]): Promise<Rows> {
    const answer = this.#answers.get(kind)
    if (answer === undefined) throw pgError('internal', [`nobody answers "${kind}"`])
    return await answer(args)
  }

  /** @throws PgError XX000 for a command that nobody performs, or why it was not done */
  async run(command: string, args: readonly string[]): Promise<readonly string[]> {
    const deed = this.#deeds.get(command)
    if (deed === undefined) throw pgError('internal', [`nobody performs "${command}"`])
    return await deed(args)
  }
}

/** The fleet of a proxy that is one process. */
export class OneProcess extends FleetMember implements Fleet {
  readonly worker = 0
  readonly size = 1

  async snapshots(kind: string, args: readonly string[]): Promise<readonly Snapshot[]> {
    return [{ worker: 0, rows: await this.snapshot(kind, args) }]
  }

  everywhere(command: string, args: readonly string[]): Promise<readonly string[]> {
    return this.run(command, args)
  }

  /** Nobody else has given keys. */
  async cancel(_pid: number, _secret: Uint8Array): Promise<void> {}
}
