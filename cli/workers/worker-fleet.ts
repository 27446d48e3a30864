// The fleet as one of several workers sees it: whatever concerns the others goes through the supervisor.
import { type Fleet, FleetMember, type Snapshot } from '../../proxy/fleet.ts'
import type { Channel } from './channel.ts'
import { sentences, snapshotList } from './messages.ts'

// Longer than the supervisor waits for a worker.
const snapshotsMs = 5_000
const cancelMs = 10_000

export class WorkerFleet extends FleetMember implements Fleet {
  readonly worker: number
  readonly size: number
  readonly #supervisor: Channel

  constructor(worker: number, size: number, supervisor: Channel) {
    super()
    this.worker = worker
    this.size = size
    this.#supervisor = supervisor
  }

  async snapshots(kind: string, args: readonly string[]): Promise<readonly Snapshot[]> {
    const answer = await this.#supervisor.call('snapshots', { name: kind, args }, snapshotsMs)
    return snapshotList.parse(answer)
  }

  async everywhere(command: string, args: readonly string[]): Promise<readonly string[]> {
    return sentences.parse(await this.#supervisor.call('everywhere', { name: command, args }, null))
  }

  async cancel(pid: number, secret: Uint8Array): Promise<void> {
    const key = { pid, secret: Buffer.from(secret).toString('hex') }
    // A cancel is a wish: there is nobody to tell that it failed.
    await this.#supervisor.call('cancel', key, cancelMs).catch(() => undefined)
  }
}
