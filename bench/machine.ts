// Where the figures come from: without it a table of a benchmark cannot be compared with another.
import { spawnSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'
import type { Peer } from './peers.ts'

export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly memoryMiB: number
  readonly kernel: string
  readonly node: string
  readonly pgbench: string
  /** Commit of the checkout, with `+` when files differ from it; null without git. */
  readonly commit: string | null
  /** Over the minute before the first run. */
  readonly load1: number
  /** Version of every peer. */
  readonly peers: Readonly<Record<string, string>>
}

/** A machine that has more to do than this before we begin gives figures that mean little. */
const quietLoadMax = 0.5

/** Looks at the machine as it is now. */
export function describeMachine(peers: readonly Peer[], pgbench: string): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryMiB: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    node: process.version,
    pgbench: said(pgbench, ['--version']) ?? 'unknown',
    commit: commit(),
    load1: loadavg()[0] ?? 0,
    peers: Object.fromEntries(peers.map(({ name, version }) => [name, version])),
  }
}

/** Some lines for people. */
export function renderMachine(machine: Machine): string {
  const { cpu, cores, memoryMiB, kernel, node, pgbench, load1, peers } = machine
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`)
  const lines = [
    `${cores} × ${cpu}, ${memoryMiB} MiB, Linux ${kernel}, Node ${node}, ${pgbench}`,
    versions.join(' · '),
  ]
  if (load1 > quietLoadMax)
    lines.push(`load ${load1.toFixed(1)}: other programs are at work, so the figures are noise`)
  return `${lines.join('\n')}\n`
}

function commit(): string | null {
  const directory = ['-C', import.meta.dirname]
  const hash = said('git', [...directory, 'rev-parse', '--short', 'HEAD'])
  if (hash === null) return null
  const changed = said('git', [...directory, 'status', '--porcelain', '--untracked-files=no'])
  return changed === null || changed === '' ? hash : `${hash}+`
}

function said(program: string, argv: readonly string[]): string | null {
  const { status, stdout } = spawnSync(program, argv, { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}
