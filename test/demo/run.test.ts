// Nothing outlives its run: what a killed process left is stopped and removed, as root and as an
// ordinary user.
import { spawn, type ChildProcess } from 'node:child_process'
import { access } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { findInstallation } from '../../demo/installation.ts'
import { processIdentity, signalProcess, waitUntil } from '../../demo/process.ts'
import { openRun } from '../../demo/run.ts'
import { findTemplate } from '../../demo/template.ts'

type Started = {
  readonly owner: ChildProcess
  readonly dir: string
  readonly watchdogPid: number
  readonly serverPids: readonly number[]
}

const isRoot = process.getuid?.() === 0
const users = [
  { who: 'this user', identity: {} },
  // Root's tests run once more as somebody who is not.
  ...(isRoot ? [{ who: 'nobody', identity: { uid: 65_534, gid: 65_534 } }] : []),
]

/** A process that starts a cluster, says so on stdout, and stops it when its stdin ends. */
const ownerSource = (folder: string) => `
  const { startCluster } = await import('${folder}/demo/cluster.ts')
  const { findInstallation } = await import('${folder}/demo/installation.ts')
  const { createLog } = await import('${folder}/core/log.ts')
  const installation = await findInstallation('embedded')
  const options = { shards: 1, replicas: 1, installation, dir: null, log: createLog('warn') }
  const { dir, shards, watchdogPid, stop } = await startCluster(options)
  const serverPids = shards.flatMap((s) => [s.primary, ...s.replicas]).map((server) => server.pid)
  const uid = process.getuid()
  process.stdout.write(JSON.stringify({ dir, watchdogPid, serverPids, uid }) + '\\n')
  for await (const _ of process.stdin) { }
  await stop()
`

async function startOwner(identity: { uid?: number; gid?: number }): Promise<Started> {
  const folder = new URL('../..', import.meta.url).href.replace(/\/$/, '')
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', ownerSource(folder)], {
    ...identity,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  owners.push(owner)
  for await (const line of createInterface({ input: owner.stdout })) {
    const { dir, watchdogPid, serverPids, uid } = JSON.parse(line)
    expect(uid).toBe(identity.uid ?? process.getuid?.())
    return { owner, dir, watchdogPid, serverPids }
  }
  throw new Error('the owner ended without a cluster')
}

const owners: ChildProcess[] = []

function isGone({ dir, watchdogPid, serverPids }: Started): Promise<boolean> {
  const processes = [watchdogPid, ...serverPids]
  return waitUntil(async () => {
    if (processes.some((pid) => processIdentity(pid) !== null)) return false
    return access(dir).then(
      () => false,
      () => true,
    )
  }, 20_000)
}

describe.each(users)('a cluster that $who started', ({ identity }) => {
  afterEach(() => {
    for (const owner of owners.splice(0)) owner.kill('SIGKILL')
  })
  // Made by its first user; a copy of it is then all that a start needs.
  beforeAll(async () => {
    await findTemplate(await findInstallation('embedded'))
  })

  it('is gone after its owner ended it', async () => {
    const started = await startOwner(identity)
    expect(started.serverPids).toHaveLength(2)
    started.owner.stdin?.end()
    expect(await isGone(started)).toBe(true)
  })

  it('is cleaned up by the watchdog when its owner is killed', async () => {
    const started = await startOwner(identity)
    started.owner.kill('SIGKILL')
    expect(await isGone(started)).toBe(true)
  })

  it('is cleaned up by the next run when owner and watchdog are killed', async () => {
    const started = await startOwner(identity)
    signalProcess(started.watchdogPid, 'SIGKILL')
    started.owner.kill('SIGKILL')
    await waitUntil(() => processIdentity(started.watchdogPid) === null, 2000)
    expect(started.serverPids.map(processIdentity)).not.toContain(null)
    const next = await startOwner(identity)
    expect(await isGone(started)).toBe(true)
    next.owner.stdin?.end()
    expect(await isGone(next)).toBe(true)
  })

  it('is left alone by other runs while its owner lives', async () => {
    const started = await startOwner(identity)
    const other = await openRun(null)
    await other.end()
    expect(started.serverPids.map(processIdentity)).not.toContain(null)
    started.owner.stdin?.end()
    expect(await isGone(started)).toBe(true)
  })
})
