// A step that depends on the stream of changes ends with it.
import type { Following } from '../world.ts'

/** What `work` gives. @throws what ended the stream, if that comes first */
export async function whileFollowing<T>(following: Following, work: () => Promise<T>): Promise<T> {
  const ended = following.ended.then((): never => {
    throw new Error('the stream of changes was stopped')
  })
  // Who loses the race is heard by nobody.
  ended.catch(() => undefined)
  return await Promise.race([work(), ended])
}
