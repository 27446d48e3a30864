// `ringfence rebalance …` on the command line.
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { MoveWish } from '../../catalog/move-state.ts'
import type { MoveOptions } from '../../catalog/move-store.ts'
import { size as sizeKind } from '../../config/kinds.ts'
import { defaultMoveOptions } from '../../rebalancer/run-move.ts'
import { finish, out } from '../finish.ts'
import { atLeast, configOption, databaseOption, jsonOption, milliseconds } from '../options.ts'
import { doctorCommand, type DoctorFlags } from '../rebalance/doctor.ts'
import { applyCommand, planCommand } from '../rebalance/plan.ts'
import { resumeCommand, runCommand, type RunFlags } from '../rebalance/run.ts'
import { type StatusFlags, statusCommand, watchCommand } from '../rebalance/status.ts'
import { verifyCommand } from '../rebalance/verify.ts'
import { wishCommand, type WishFlags } from '../rebalance/wish.ts'
import type { MoverFlags } from '../mover.ts'

/** Adds `rebalance` with its commands. */
export function addRebalanceCommand(program: Command): void {
  const group = program
    .command('rebalance')
    .description('move virtual nodes and keys between shards while clients read and write')
    .addHelpText('after', examples)
  addPlan(group)
  addRun(group)
  addResume(group)
  addStatus(group)
  for (const [wanted, description] of wishes) addWish(group, wanted, description)
  shared(group.command('verify'))
    .description('compare both shards of a move that has switched, row for row')
    .argument('<move>', 'number of the move', atLeast(1, Number.MAX_SAFE_INTEGER))
    .action((id: number, flags: MoverFlags) => finish(verifyCommand(id, flags, out)))
  addDoctor(group)
}

const wishes: readonly (readonly [MoveWish, string])[] = [
  ['pause', 'let a move rest before its next step'],
  ['abort', 'give a move up that has not switched; both shards are left clean'],
  ['rollback', 'take a move back that has switched, with all that was written since'],
  ['complete', 'end a move that has switched: delete the rows on the source'],
]

/** Options of moves that are made now: kept ones have their own. */
const ofNewMoves: ReadonlySet<string> = new Set(
  `--epsilon --max-bytes --max-moves --workers --rate --max-wal-retained --max-replica-lag
   --max-latency-factor --cutover-timeout --cutover-tries --prepare-timeout --max-time --no-verify
   --keep-source`.split(/\s+/),
)

/** commander would take null for no value. */
const untilTold = -1

type LimitFlags = {
  readonly workers: number
  readonly rate?: number
  readonly maxWalRetained: number
  readonly maxReplicaLag: number
  readonly maxLatencyFactor?: number
  readonly cutoverTimeout: number
  readonly cutoverTries: number
  readonly prepareTimeout: number
  readonly verify: boolean
  readonly maxTime?: number
  readonly keepSource: number
}

function addPlan(group: Command): void {
  type Flags = MoverFlags & { epsilon: number; maxBytes?: number; maxMoves?: number }
  addTarget(shared(group.command('plan')))
    .description('propose the moves that even out the measured load; nothing is changed')
    .action(({ maxBytes, ...flags }: Flags) =>
      finish(planCommand({ ...flags, maxBytes: maxBytes ?? null }, out)),
    )
  addLimits(addTarget(shared(group.command('apply'))))
    .description('keep the moves of a plan in the catalog, for "run"')
    .option('--dry-run', 'only print the plan', false)
    .option('-y, --yes', 'do not ask', false)
    .action(({ maxBytes, ...flags }: Flags & LimitFlags & { yes: boolean; dryRun: boolean }) =>
      finish(applyCommand({ ...flags, maxBytes: maxBytes ?? null, limits: limitsOf(flags) }, out)),
    )
}

function addTarget(command: Command): Command {
  return command
    .option('--epsilon <share>', 'load that a shard may have above its fair share', share, 0.05)
    .option('--max-bytes <size>', 'bytes moved at most', size)
    .option('--max-moves <n>', 'moves at most', atLeast(1))
}

function addRun(group: Command): void {
  const command = shared(group.command('run'))
    .description(
      'run moves through to their end: those named, else those planned, else a plan made now',
    )
    .option('--from <shard>', 'shard that gives')
    .option('--to <shard>', 'shard that takes')
    .option(
      '--vnodes <ranges>',
      'virtual nodes, such as 0-1023,2000; those that --from owns are moved',
    )
  addRunning(addLimits(addTarget(command))).action(
    ({ maxBytes, ...flags }: RunFlags & LimitFlags & { maxBytes?: number }) => {
      const given = command.options
        .filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli')
        .flatMap(({ long }) => (long !== undefined && ofNewMoves.has(long) ? [long] : []))
      const limits = limitsOf(flags)
      return finish(runCommand({ ...flags, maxBytes: maxBytes ?? null, given, limits }, out))
    },
  )
}

function addResume(group: Command): void {
  const command = shared(group.command('resume')).description(
    'go on with every move that was paused, or whose runner is gone, through to its end',
  )
  addRunning(command).action((flags: RunFlags) =>
    finish(resumeCommand({ ...flags, limits: defaultMoveOptions }, out)),
  )
}

function addStatus(group: Command): void {
  shared(group.command('status'))
    .description('show the newest moves, where they stand, and the proxies that they wait for')
    .option('--all', 'all moves there have been', false)
    .action((flags: StatusFlags) => finish(statusCommand(flags, out)))
  shared(group.command('watch'))
    .description('show how the moves under way go on, until all have ended')
    .action((flags: MoverFlags) => finish(watchCommand(flags, out)))
}

function addWish(group: Command, wanted: MoveWish, description: string): void {
  shared(group.command(wanted))
    .description(description)
    .argument('<move>', 'number of the move', atLeast(1, Number.MAX_SAFE_INTEGER))
    .option('--dry-run', 'only say what would be done', false)
    .option('--verbose', 'log every step to stderr', false)
    .action((id: number, flags: WishFlags) => finish(wishCommand(wanted, id, flags, out)))
}

function addDoctor(group: Command): void {
  shared(group.command('doctor'))
    .description('look for whatever moves have left behind, and for what stands in their way')
    .option('--fix', 'remove what belongs to moves that have ended', false)
    .option('--no-rows', 'do not count rows on shards that do not own them')
    .option('--forget-proxy <id>', 'take a proxy off the list that is gone for good')
    .action((flags: DoctorFlags) => finish(doctorCommand(flags, out)))
}

function shared(command: Command): Command {
  return command.addOption(configOption()).addOption(databaseOption()).addOption(jsonOption())
}

function addRunning(command: Command): Command {
  return command
    .option('--parallel <n>', 'moves at once, between different shards', atLeast(1, 64), 2)
    .option('--dry-run', 'print moves, bytes, steps and expected waits; change nothing', false)
    .option('-y, --yes', 'do not ask', false)
    .option('--verbose', 'log every step to stderr', false)
}

function addLimits(command: Command): Command {
  const { workers, cutoverTries } = defaultMoveOptions
  return command
    .option('--workers <n>', 'connections that copy, on each shard', atLeast(1, 64), workers)
    .option('--rate <size>', 'bytes copied per second at most', size)
    .option(
      '--max-wal-retained <size>',
      'log kept on a shard, above which the move is aborted',
      size,
      16 * 1024 ** 3,
    )
    .option(
      '--max-replica-lag <size>',
      'copying rests while a replica is further behind',
      size,
      256 * 1024 ** 2,
    )
    .option(
      '--max-latency-factor <n>',
      'copying rests while the source is slower by this factor than before',
      factor,
    )
    .option(
      '--cutover-timeout <duration>',
      'how long statements are held at the switch before it is put off',
      milliseconds,
      2_000,
    )
    .option(
      '--cutover-tries <n>',
      'tries to switch before the move is aborted',
      atLeast(1),
      cutoverTries,
    )
    .option(
      '--prepare-timeout <duration>',
      'how long to wait for proxies to acknowledge',
      milliseconds,
      30_000,
    )
    .option(
      '--max-time <duration>',
      'time until the switch, after which the move is aborted',
      milliseconds,
    )
    .option('--no-verify', 'do not compare rows before the switch')
    .addOption(
      new Option(
        '--keep-source <duration>',
        'keep the source up to date after the switch, for a rollback; or "until-told"',
      )
        .argParser((text) => (text === 'until-told' ? untilTold : milliseconds(text)))
        .default(0, 'complete at once'),
    )
}

function limitsOf(flags: LimitFlags): MoveOptions {
  return {
    workers: flags.workers,
    bytesPerSecond: flags.rate ?? null,
    maxWalRetainedBytes: flags.maxWalRetained,
    maxReplicaLagBytes: flags.maxReplicaLag,
    maxLatencyFactor: flags.maxLatencyFactor ?? null,
    cutoverTimeoutMs: flags.cutoverTimeout,
    cutoverTries: flags.cutoverTries,
    prepareTimeoutMs: flags.prepareTimeout,
    verify: flags.verify,
    keepSourceMs: flags.keepSource === untilTold ? null : flags.keepSource,
    maxMs: flags.maxTime ?? null,
  }
}

function size(text: string): number {
  const parsed = sizeKind(1, Number.MAX_SAFE_INTEGER).schema.safeParse(text)
  if (parsed.success) return parsed.data
  throw new InvalidArgumentError('Write it like 64MiB or 10GiB.')
}

function factor(text: string): number {
  const number = Number(text)
  if (number > 1 && number < 1_000) return number
  throw new InvalidArgumentError('It takes a number above 1, such as 1.5.')
}

function share(text: string): number {
  const number = Number(text)
  if (number > 0 && number <= 1) return number
  throw new InvalidArgumentError('It takes a share such as 0.05.')
}

const examples = `
Examples:
  $ ringfence rebalance plan
  $ ringfence rebalance run --yes
  $ ringfence rebalance run --from s1 --to s2 --vnodes 0-1023 --dry-run
  $ ringfence rebalance run --from s1 --to s2 --vnodes 0-1023 --yes
  $ ringfence rebalance run --from s1 --to s2 --vnodes 7 --keep-source 1h --rate 20MiB --yes
  $ ringfence rebalance status
  $ ringfence rebalance rollback 3
  $ ringfence rebalance resume --yes
  $ ringfence rebalance doctor

A move may be interrupted at any time, by Ctrl-C or by a crash: "resume" goes on with it. At the switch
statements of the moved keys wait for a moment; nothing fails. Before it every row is compared.

Exit codes: 0 done, 1 not done or something was found, 2 wrong arguments.`
