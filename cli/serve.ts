// `ringfence serve`: the proxy in the foreground until SIGTERM or SIGINT.
import { createLog, type Log } from '../core/log.ts'
import { Proxy } from '../proxy/proxy.ts'
import { startAutos } from './auto.ts'
import { readConfig } from './load-config.ts'
import { proxyOptions } from './proxy-options.ts'
import { ConfigReload } from './reload.ts'
import { programVersion } from './version.ts'

// Transactions may end, but not for ever: a supervisor's own patience is usually 30 s.
const drainDeadlineMs = 25_000

/** Serves until a signal; a second signal stops at once. Resolves with the exit code. */
export async function serve(configFile: string): Promise<number> {
  const config = await readConfig(configFile)
  const log = createLog(config.log.level)
  const reload = await ConfigReload.watch(configFile, {
    setLogLevel: (level) => {
      log.level = level
    },
    addShards: async (name, shards) => {
      const database = proxy.databases.get(name)
      await database?.configure({ ...database.options, shards })
    },
  })
  const options = proxyOptions(config, programVersion(), log)
  const proxy = await Proxy.start({ ...options, reload: () => reloadNow(reload, log) })
  process.on('SIGHUP', () => void reloadNow(reload, log).catch(() => undefined))
  const autos = startAutos(config, log)
  log.info({ port: proxy.port, http: proxy.httpPort }, 'ready')
  await untilStopped((signal) => log.info({ signal }, 'draining: no new logins'))
  await autos.close()
  const impatient = untilStopped(() => log.warn('stopping at once'))
  await Promise.race([proxy.drain(drainDeadlineMs), impatient.then(() => proxy.close())])
  log.info('stopped')
  return 0
}

/** @throws what is wrong with the file; the log has it already */
async function reloadNow(reload: ConfigReload, log: Log): Promise<readonly string[]> {
  try {
    const said = await reload.run()
    log.info({ said }, 'configuration reloaded')
    return said
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    log.error({ reason }, 'the configuration cannot be reloaded; the old one stays in force')
    throw error
  }
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
