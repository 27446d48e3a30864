// `ringfence serve`: the proxy in the foreground until SIGTERM or SIGINT.
import { createLog } from '../core/log.ts'
import { Proxy } from '../proxy/proxy.ts'
import { readConfig } from './load-config.ts'
import { proxyOptions } from './proxy-options.ts'
import { programVersion } from './version.ts'

// Transactions may end, but not for ever: a supervisor's own patience is usually 30 s.
const drainDeadlineMs = 25_000

/** Serves until a signal; a second signal stops at once. Resolves with the exit code. */
export async function serve(configFile: string): Promise<number> {
  const config = await readConfig(configFile)
  const log = createLog(config.log.level)
  const proxy = await Proxy.start(proxyOptions(config, programVersion(), log))
  log.info({ port: proxy.port, http: proxy.httpPort }, 'ready')
  await untilStopped((signal) => log.info({ signal }, 'draining: no new logins'))
  const impatient = untilStopped(() => log.warn('stopping at once'))
  await Promise.race([proxy.drain(drainDeadlineMs), impatient.then(() => proxy.close())])
  log.info('stopped')
  return 0
}

/** Resolves at the first SIGTERM or SIGINT. */
export function untilStopped(heard: (signal: string) => void): Promise<void> {
  return new Promise((resolve) => {
    const stop = (signal: string) => {
      process.off('SIGTERM', stop)
      process.off('SIGINT', stop)
      heard(signal)
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
  })
}
