// What asks a command to stop and to leave everything in order: Ctrl-C, a supervisor, a terminal that goes away.
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Calls `stop` at each of them until it is disposed of; then they end the process as they do by default. */
export function onStopSignals(stop: () => void): Disposable {
  for (const signal of signals) process.on(signal, stop)
  return {
    [Symbol.dispose]: () => {
      for (const signal of signals) process.off(signal, stop)
    },
  }
}
