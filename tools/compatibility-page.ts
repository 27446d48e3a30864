// docs/compatibility.md: what the suites in test/clients saw when they last ran, client by client.
import { layouts, readResults, type ClientResult } from './client-results.ts'

type Run = ClientResult['runs'][number]

const source = 'test/clients/results/*.json'
const intro = `Each of these clients did its steps twice: directly on one PostgreSQL, and through Ringfence in transaction mode. A
step counts as *same* when everything that the client got was equal: rows, types, counts, error codes and messages.

- *One shard*: a pool of four servers for up to twenty connections; nothing is sharded.
- *Three shards*: tables sharded by tenant, a reference table, the tools' own tables on the home shard. The programs do what an
  application on a sharded database does: statements of one tenant, and reads of all tenants.

\`npm run test:clients\` runs the clients in JavaScript and psql. The others are packages of Debian 12, which
\`test/clients/languages/install\` installs; the same run with \`RINGFENCE_TEST_LANGUAGES=all\` has them. A run fails when what it sees is not
what this page says.

The suites that PostgreSQL and ten drivers have of their own run by other scripts ([test/clients/suites](../test/clients/suites/README.md)):
of 18,479 tests 87 end otherwise than directly, each for a reason that is listed there.`

/** The page, from the files of `folder`. */
export function compatibilityPage(folder: string): string {
  const results = readResults(folder)
  const head =
    '| client | language | version | steps over one shard | over three shards | PostgreSQL | worth knowing |'
  const table = [head, '|---|---|---|---|---|---|---|', ...results.map(tableRow)].join('\n')
  const parts = [
    `<!-- Generated from ${source} by "npm run docs"; do not edit. -->\n# Compatibility`,
    intro,
    table,
    '## Differences',
    differences(results),
    '## What each client did',
    ...results.map(stepsOf),
  ]
  return `${parts.join('\n\n')}\n`
}

function tableRow(result: ClientResult): string {
  const { client, language, version, notes, runs } = result
  const tested = layouts.map((layout) => verdict(runs.find((run) => run.layout === layout)))
  const postgres = [...new Set(runs.map((run) => run.postgres))].join('; ')
  return `| ${[client, language, version, ...tested, postgres, notes].join(' | ')} |`
}

function verdict(run: Run | undefined): string {
  if (run === undefined) return '–'
  const same = run.steps.filter(({ result }) => result === 'same').length
  return same === run.steps.length
    ? `${same} steps, all same`
    : `${same} of ${run.steps.length} same`
}

function differences(results: readonly ClientResult[]): string {
  const lines = results.flatMap(({ client, runs }) =>
    runs.flatMap(({ layout, steps }) =>
      steps
        .filter(({ result }) => result === 'differs')
        .map(
          ({ did, why }) => `- **${client}**, ${layout}: ${did}. ${why ?? 'Not explained yet'}.`,
        ),
    ),
  )
  return lines.length === 0 ? 'None.' : lines.join('\n')
}

/** Steps of several layouts stand there once, with the layouts that lack them. */
function stepsOf({ client, runs }: ClientResult): string {
  const names = new Set(runs.flatMap(({ steps }) => steps.map(({ did }) => did)))
  const lines = [...names].map((did) => {
    const lacking = runs.filter(({ steps }) => !steps.some((step) => step.did === did))
    return lacking.length === 0 ? `- ${did}` : `- ${did} (not over ${lacking[0]?.layout})`
  })
  return `### ${client}\n\n${lines.join('\n')}`
}
