// Several workers on one list of tasks, each with a connection of its own.

/**
 * Runs `work` as `workers` workers at most, which take the tasks in order. When one fails, the
 * signal that all were given aborts, the others are waited for, and the first error is thrown.
 */
export async function inParallel<T>(
  tasks: readonly T[],
  options: { readonly workers: number; readonly signal: AbortSignal },
  work: (tasks: Iterable<T>, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failure = new AbortController()
  const signal = AbortSignal.any([options.signal, failure.signal])
  const queue = tasks.values()
  // `return` would close the list for the others too.
  const shared = { [Symbol.iterator]: () => ({ next: () => queue.next() }) }
  const count = Math.min(Math.max(1, options.workers), tasks.length)
  const running = Array.from({ length: count }, async () => {
    try {
      await work(shared, signal)
    } catch (thrown) {
      failure.abort(thrown)
    }
  })
  await Promise.all(running)
  options.signal.throwIfAborted()
  failure.signal.throwIfAborted()
}
