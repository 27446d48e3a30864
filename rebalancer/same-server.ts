// Rows are copied to one server. A replica that takes its place may lack the last of them, and nothing would tell: the stream
// goes on from a position that it has, the copy is not made again.
import type { Move } from '../catalog/move-store.ts'
import type { Position } from '../core/position.ts'
import { MoveProblem } from './move-problem.ts'

/** One life of a primary: a promotion begins another. */
export function serverOf({ systemId, timeline }: Position): string {
  return `${systemId}/${timeline}`
}

/** What keeps a move from switching when rows were copied to another server than the target's primary is now; else null. */
export function failedOver({ progress: { copiedTo } }: Move, target: Position): MoveProblem | null {
  if (copiedTo === undefined || copiedTo === serverOf(target)) return null
  return new MoveProblem(
    'positionLost',
    'the target has failed over since rows were copied there: its new primary may lack some of them',
    { hint: 'Nothing was switched. Run the move again.' },
  )
}
