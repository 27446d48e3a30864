// One transaction on one connection: all of it or nothing.
import type { Client } from 'pg'

/** Result of `steps`, once it is committed. @throws what `steps` or the server throw; then nothing was written */
export async function inTransaction<T>(client: Client, steps: () => Promise<T>): Promise<T> {
  await client.query('BEGIN')
  try {
    const result = await steps()
    await client.query('COMMIT')
    return result
  } catch (cause) {
    // A connection that is gone has rolled back by itself, and who asked wants to hear the cause.
    await client.query('ROLLBACK').catch(() => undefined)
    throw cause
  }
}
