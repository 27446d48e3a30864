// What a run counts besides its history.
import type { LineError } from './line.ts'

export class Tally {
  /** By where they were answered. */
  readonly reads = { primary: 0, replica: 0, unknown: 0 }
  writes = 0
  handovers = 0
  sessions = 0
  /** Reads that had to be on the primary and were not. */
  misplaced = 0
  /** By what was done and the SQLSTATE. */
  readonly errors = new Map<string, number>()
  /** An example of each. */
  readonly examples = new Map<string, string>()

  failed(doing: string, { sqlstate, message }: LineError): void {
    const key = `${doing} ${sqlstate}`
    this.errors.set(key, (this.errors.get(key) ?? 0) + 1)
    if (!this.examples.has(key)) this.examples.set(key, message)
  }

  get errorText(): string {
    return [...this.errors].map(([key, count]) => `${key} ×${count}`).join(', ') || 'none'
  }

  /** Share of the reads answered by replicas, of those whose place is known. */
  get replicaShare(): number {
    const { primary, replica } = this.reads
    return replica / Math.max(1, primary + replica)
  }
}
