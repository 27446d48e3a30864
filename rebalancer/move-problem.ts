// Why a move cannot go on: told to the operator and kept with the move, never sent to a client.

/**
 * `schemaChanged`: a table differs between source, target and what was agreed at the start;
 * `toastMissing`: a row came into the set with values that the log does not have; `rowMissing`: an
 * update of a row that the target lacks; `identityMissing`: the replica identity does not tell
 * which row or which key; `rowConflict`: the target has a row that excludes another one;
 * `slotLost`, `publicationLost`: the source keeps no log for this move any more; `positionLost`:
 * the target has forgotten what it had acknowledged; `applierReplaced`: another runner applies the
 * same move; `notReady`: servers or tables do not allow it; `notAcknowledged`: a proxy does not
 * answer; `walRetained`, `takesTooLong`: a limit is reached; `differs`: the comparison found a
 * difference; `cutoverFailed`: the fence could not be had in any try.
 */
export type MoveProblemCode =
  | 'schemaChanged'
  | 'toastMissing'
  | 'rowMissing'
  | 'identityMissing'
  | 'rowConflict'
  | 'slotLost'
  | 'publicationLost'
  | 'positionLost'
  | 'applierReplaced'
  | 'applyFailed'
  | 'notReady'
  | 'notAcknowledged'
  | 'walRetained'
  | 'differs'
  | 'cutoverFailed'
  | 'takesTooLong'

/**
 * The move has to be aborted, or somebody has to do what `hint` says; trying again alone is
 * useless.
 */
export class MoveProblem extends Error {
  readonly code: MoveProblemCode
  readonly hint: string

  constructor(
    code: MoveProblemCode,
    message: string,
    options: { readonly hint: string; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MoveProblem'
    this.code = code
    this.hint = options.hint
  }
}
