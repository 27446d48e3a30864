// `ringfence explain`: how a statement would be routed with the topology and schema of now; nothing is run.
import { TopologyStore } from '../catalog/topology-store.ts'
import { loadSchema } from '../catalog/schema-loader.ts'
import { createLog } from '../core/log.ts'
import { epoch } from '../core/ids.ts'
import { withServer } from '../catalog/connect-by-url.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { explainRoute } from '../router/explain.ts'
import { loadParser } from '../router/parser.ts'
import { Router, type RouterContext } from '../router/router.ts'
import { restingTopology } from '../router/topology.ts'
import { chooseDatabase } from './choose-database.ts'
import { readConfig } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'
import { renderTable } from './table.ts'

export type ExplainOptions = {
  readonly config: string
  readonly database?: string
  readonly json: boolean
}

/** Prints one aspect of the route a line. Exit code 0, 1 when the statement would be refused. */
export async function explainCommand(
  statement: string,
  options: ExplainOptions,
  out: (text: string) => void,
): Promise<number> {
  const config = await readConfig(options.config)
  const database = chooseDatabase(config.databases, options.database)
  await loadParser()
  const context = await readContext(databaseOptions(database, config))
  const rows = explainRoute(statement, new Router({ cacheEntriesMax: 1 }), context)
  if (options.json) out(`${JSON.stringify(Object.fromEntries(rows))}\n`)
  else out(renderTable(['aspect', 'value'], rows))
  return rows.some(([aspect]) => aspect === 'error') ? 1 : 0
}

async function readContext(options: ReturnType<typeof databaseOptions>): Promise<RouterContext> {
  const { shards, rules } = options
  const ids = shards.map(({ id }) => id)
  const [home] = shards
  if (rules === null || home === undefined) {
    const topology = restingTopology(epoch(0), ids, new Uint16Array(0))
    return { topology, schema: null, rules: null, searchPath: [] }
  }
  const url = catalogUrl(home, options)
  const store = new TopologyStore({ url, shards: ids, log: createLog('warn'), pollMs: 60_000 })
  try {
    const topology = await store.start()
    const schema = await withServer(url, (client) => {
      const question = async (sql: string) =>
        (await client.query<(string | null)[]>({ text: sql, rowMode: 'array', types: asText })).rows
      return loadSchema(question, rules, options.catalogUser.name)
    })
    return { topology, schema, rules, searchPath: schema.defaultSearchPath }
  } finally {
    await store.close()
  }
}

const asText = { getTypeParser: () => (value: string | Buffer) => String(value) }
