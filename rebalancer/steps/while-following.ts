// A step that depends on the stream of changes ends with it.
import type { Following } from '../world.ts'

/**
 * What `work` gives; its signal aborts with `signal` and when the stream is lost. It is waited for even then: nothing of it
 * goes on behind the back of the next step. @throws what ended the stream, if that comes first
 */
export async function whileFollowing<T>(
  following: Following,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const loss = new AbortController()
  const ended = following.ended.then((): never => {
    throw new Error('the stream of changes was stopped')
  })
  ended.catch((reason: unknown) => loss.abort(reason))
  const working = work(AbortSignal.any([signal, loss.signal]))
  try {
    return await Promise.race([working, ended])
  } catch (error) {
    await working.catch(() => undefined)
    throw error
  }
}
