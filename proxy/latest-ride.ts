// The latest statement of a session on the fast lane, as a move asks for it: a former owner must have answered what was sent
// to it before its rows go.
import type { ShardId } from '../core/ids.ts'
import type { Riding } from './move-gate.ts'

export class LatestRide implements Riding {
  shard: ShardId | null = null
  number = 0

  began(shard: ShardId): void {
    this.shard = shard
    this.number += 1
  }

  over(): void {
    this.shard = null
  }
}
