// Steps of the proxy's own on behalf of a command: to their end or to their failure, with the transaction that PostgreSQL
// puts around a string or a pipeline.
import { type PgError, toPgError } from '../../core/errors.ts'
import type { PipelineEnd } from '../intake.ts'
import type { Session } from '../session.ts'
import { failOnServer } from './local-failure.ts'
import { finishImplicit } from './steps.ts'

export type StepsEnd = { readonly failure: PgError | null; readonly end: PipelineEnd }

/** `isOver`: asked at the end, whether the string or pipeline ends with these steps. */
export async function runSteps(
  session: Session,
  steps: () => Promise<void>,
  isOver: () => boolean,
): Promise<StepsEnd> {
  let failure: PgError | null = null
  try {
    await steps()
  } catch (error) {
    failure = toPgError(error)
    // What came before has been done: only a failure at the end takes the last answer back.
    session.output.flushDeferred()
    await failOnServer(session)
  }
  // The transaction that PostgreSQL puts around a string or a pipeline ends with it.
  const over = isOver()
  if (over || failure !== null) failure = await finishImplicit(session, failure)
  // Flush asks for what there is; PostgreSQL tells it too before it is committed.
  else session.output.flushDeferred()
  return { failure, end: over ? 'sync' : 'flush' }
}
