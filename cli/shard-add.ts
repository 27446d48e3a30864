// `ringfence shard add`: a shard of the file joins the cluster while it is at work.
import { CatalogError } from '../catalog/catalog-error.ts'
import { tlsOfUrl } from '../catalog/connect-by-url.ts'
import { shardId } from '../core/ids.ts'
import { joinCluster, type Joined, type JoinOptions } from '../rebalancer/join/join.ts'
import { planJoin } from '../rebalancer/join/join-plan.ts'
import { JoinRefused } from '../rebalancer/join/join-refused.ts'
import type { Verdict } from './finding.ts'
import { CommandFailure } from './load-config.ts'
import { serverVerdicts, twinVerdicts } from './server-verdict.ts'
import { probeServer, type Probed } from './server-probe.ts'
import { configured, readCluster, type ShardCluster, type ShardFlags } from './shard-cluster.ts'
import { onStopSignals } from './stop-signals.ts'

export type ShardAddFlags = ShardFlags & {
  readonly dryRun: boolean
  readonly forgetProxy: readonly string[]
  readonly timeoutMs: number
}

const probeDeadlineMs = 5_000

/** Exit code 0 when the shard belongs to the cluster, else 1 with everything that is in the way. */
export async function shardAddCommand(
  name: string,
  flags: ShardAddFlags,
  out: (text: string) => void,
): Promise<number> {
  const cluster = await readCluster(flags)
  const shard = configured(cluster, name)
  const say = (line: string) => {
    if (!flags.json) out(`${line}\n`)
  }
  const controller = new AbortController()
  using _stopping = onStopSignals(() => controller.abort(new CommandFailure('interrupted')))
  try {
    const options: JoinOptions = {
      id: shardId(name),
      weight: shard.weight,
      shard: shard.address,
      home: cluster.home,
      rules: cluster.rules,
      forget: flags.forgetProxy,
      timeoutMs: flags.timeoutMs,
      say,
      signal: controller.signal,
    }
    const verdicts = await serverProblems(cluster, name)
    const errors = verdicts.filter(({ severity }) => severity === 'error').map(sentence)
    for (const warning of verdicts.filter(({ severity }) => severity === 'warning')) {
      say(`warning: ${sentence(warning)}`)
    }
    if (flags.dryRun || errors.length > 0) return await planOnly(options, errors, flags, out)
    const joined = await joinCluster(options)
    report(name, joined, flags, out)
    return 0
  } catch (thrown) {
    return refuse(thrown, flags, out)
  }
}

/**
 * Prints what would be done; or, when the server itself will not do, that together with all other
 * problems.
 */
async function planOnly(
  options: JoinOptions,
  errors: readonly string[],
  { json, dryRun }: ShardAddFlags,
  out: (text: string) => void,
): Promise<number> {
  // Nothing is changed, so no proxy is forgotten either.
  await using plan = await planJoin({ ...options, forget: [] })
  const problems = [...errors, ...plan.problems]
  const ok = problems.length === 0
  const steps = plan.hasJoined ? [] : plan.steps
  if (json) {
    out(`${JSON.stringify({ ok, dryRun, steps, problems })}\n`)
    return ok ? 0 : 1
  }
  if (!ok) throw new JoinRefused(problems)
  if (plan.hasJoined) out(`shard "${options.id}" has joined already: nothing to do\n`)
  for (const [at, step] of steps.entries()) out(`${at + 1}. ${step}\n`)
  return 0
}

/** What `check` says of a server, about the new one beside those that are there. */
async function serverProblems(
  { shards, config }: ShardCluster,
  name: string,
): Promise<readonly Verdict[]> {
  const asked = await Promise.all(
    [...shards].map(async ([id, { address }]) => ({ id, probed: await probe(address.urls[0]) })),
  )
  const answered = asked.flatMap(({ id, probed }) => {
    return probed?.kind === 'answered' ? [{ id, facts: probed.facts }] : []
  })
  const fresh = answered.find(({ id }) => id === name)
  // Whatever keeps us from it is said when it is connected to in earnest.
  if (fresh === undefined) return []
  const others = answered.filter((each) => each !== fresh)
  const { user } = loginOf(shards.get(fresh.id)?.address.urls[0])
  const login = { user, password: null }
  return [
    ...serverVerdicts(fresh.facts, 'primary', login, config),
    ...twinVerdicts(others, fresh.facts),
  ]
}

async function probe(url: string | undefined): Promise<Probed | null> {
  const { user, password, tls, ...address } = loginOf(url)
  if (address.host === '') return null
  return await probeServer({
    address: { ...address, user, password, tlsMode: null },
    login: { user, password },
    tls,
    catalog: null,
    schema: false,
    deadlineMs: probeDeadlineMs,
  })
}

function loginOf(text: string | undefined) {
  const url = new URL(text ?? 'postgres://')
  const password = decodeURIComponent(url.password)
  return {
    host: decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port),
    database: decodeURIComponent(url.pathname.slice(1)),
    user: decodeURIComponent(url.username),
    password: password === '' ? null : password,
    tls: tlsOfUrl(url),
  }
}

function sentence({ message, remedy }: Verdict): string {
  return remedy === null ? message : `${message}: ${remedy}`
}

function report(
  name: string,
  joined: Joined | null,
  { json }: ShardAddFlags,
  out: (text: string) => void,
): void {
  if (json) return out(`${JSON.stringify({ ok: true, shard: name, ...joined })}\n`)
  if (joined === null) return out(`shard "${name}" has joined already: nothing to do\n`)
  for (const note of joined.notes) out(`note: ${note}\n`)
  const held = (joined.heldMs / 1_000).toFixed(2)
  out(`done: what goes to every shard was held for ${held} s; "${name}" owns nothing yet\n`)
  out('go on with: ringfence rebalance plan\n')
}

function refuse(thrown: unknown, { json }: ShardAddFlags, out: (text: string) => void): number {
  if (!json) throw thrown
  const known = thrown instanceof JoinRefused || thrown instanceof CatalogError
  if (!known && !(thrown instanceof Error)) throw thrown
  const problems = thrown instanceof JoinRefused ? thrown.problems : [thrown.message]
  out(`${JSON.stringify({ ok: false, problems })}\n`)
  return 1
}
