// `ringfence topology …` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { atLeast, configOption, databaseOption, jsonOption } from '../options.ts'
import {
  topologyExportCommand,
  topologyHistoryCommand,
  type TopologyOptions,
  topologyShowCommand,
} from '../topology.ts'

/** Adds `topology` with its commands. */
export function addTopologyCommand(program: Command): void {
  const topology = program
    .command('topology')
    .description('show which shard serves what, how it came to that, and export it')
    .addHelpText('after', examples)
  topology
    .command('show')
    .description('shards with their share of the virtual nodes, moves under way, pinned keys')
    .addOption(configOption())
    .addOption(databaseOption())
    .addOption(jsonOption())
    .action((options: TopologyOptions) => finish(topologyShowCommand(options, out)))
  topology
    .command('history')
    .description('what each epoch changed, newest first')
    .addOption(configOption())
    .addOption(databaseOption())
    .option('--last <n>', 'how many changes', atLeast(1, 1_000_000), 50)
    .addOption(jsonOption())
    .action((options: TopologyOptions & { last: number }) =>
      finish(topologyHistoryCommand(options, out)),
    )
  topology
    .command('export')
    .description('everything that the catalog holds, as JSON; virtual nodes as ranges')
    .addOption(configOption())
    .addOption(databaseOption())
    .action((options: Omit<TopologyOptions, 'json'>) => finish(topologyExportCommand(options, out)))
}

const examples = `
Examples:
  $ ringfence topology show --config ringfence.yaml
  $ ringfence topology history --last 20 --json
  $ ringfence topology export > topology.json

Exit codes: 0 done, 1 the catalog cannot be read, 2 wrong arguments.`
