// `ringfence top`: what the cluster is doing, drawn again and again on a terminal, once anywhere else.
import type { Config, DatabaseConfig } from '../../config/config.ts'
import { chooseDatabase } from '../choose-database.ts'
import { readConfig } from '../load-config.ts'
import type { ProxyAt } from '../options.ts'
import { adminOf, proxiesOf } from '../proxies.ts'
import { catalogSample } from './catalog-view.ts'
import { LiveScreen } from './live-screen.ts'
import { ProxyView } from './proxy-view.ts'
import { composeSample, type TopSample } from './sample.ts'
import { screenText } from './screen.ts'

export type TopOptions = {
  readonly config: string
  readonly database?: string
  readonly proxy: readonly ProxyAt[]
  readonly intervalMs: number
  readonly once: boolean
  readonly json: boolean
}

/** Exit code 0; 1 when no proxy answered the one sample that was asked for. */
export async function topCommand(
  options: TopOptions,
  out: (text: string) => void,
): Promise<number> {
  const config = await readConfig(options.config)
  const database = chooseDatabase(config.databases, options.database)
  const login = adminOf(config)
  const views = proxiesOf(config, options.proxy).map((address) => new ProxyView(address, login))
  try {
    if (options.once || options.json || !process.stdout.isTTY) {
      const sample = await takeSample(config, database, views)
      out(options.json ? `${JSON.stringify(sample)}\n` : screenText(sample, null, false))
      return sample.proxies.every(({ error }) => error !== null) ? 1 : 0
    }
    await watch(config, database, views, options.intervalMs)
    return 0
  } finally {
    await Promise.all(views.map((view) => view.close()))
  }
}

async function takeSample(
  config: Config,
  database: DatabaseConfig,
  views: readonly ProxyView[],
): Promise<TopSample> {
  const [catalog, ...proxies] = await Promise.all([
    catalogSample(config, database),
    ...views.map((view) => view.sample()),
  ])
  return composeSample(database.name, new Date(), proxies, catalog)
}

/** Until a key or a signal ends it. */
async function watch(
  config: Config,
  database: DatabaseConfig,
  views: readonly ProxyView[],
  intervalMs: number,
): Promise<void> {
  using screen = new LiveScreen(process.stdout, process.stdin)
  const colours = process.env['NO_COLOR'] === undefined
  while (!screen.ended) {
    const sample = await takeSample(config, database, views)
    screen.draw((size) => screenText(sample, size, colours))
    await screen.pause(intervalMs)
  }
}
