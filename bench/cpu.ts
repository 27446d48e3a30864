// What the kernel has counted for a process: CPU time and memory, from /proc. Linux only.
// PostgreSQL forks a process per connection, so that a whole family has to be added up, also those
// of its members that have ended: the kernel moves their time to the parent that waited for them.
import { readdirSync, readFileSync } from 'node:fs'
import { assert } from '../core/assert.ts'
import { childrenOf } from '../demo/process.ts'

/** The kernel shows times in hundredths of a second to programs, whatever its own tick is (USER_HZ). */
const microsPerTick = 10_000
const readingsMax = 5

/** User and system time in µs of `pid`, of its live children and of those that have ended. */
export function cpuMicrosOf(pid: number): number {
  // A child that ends between the two looks at its parent would be missed or counted twice.
  for (let reading = 1; ; reading += 1) {
    const before = ticksOf(pid)
    const alive = childrenOf(pid).map(microsOnCpu)
    const after = ticksOf(pid)
    if (before.ended !== after.ended && reading < readingsMax) continue
    const parent = (after.own + after.ended) * microsPerTick
    return alive.reduce((sum, micros) => sum + micros, parent)
  }
}

/** Resident memory of `pid` alone, in bytes. */
export function residentBytesOf(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  assert(kibibytes !== undefined, `the kernel tells the resident memory of process ${pid}`)
  return Number(kibibytes) * 1024
}

/**
 * In ticks, 256 backends that each work for some ms would seem to do nothing: the kernel's
 * scheduler counts in ns. A kernel without its statistics gives ticks after all.
 */
function microsOnCpu(pid: number): number {
  const nanos = threadsOf(pid).map((thread) => {
    return readProc(`${pid}/task/${thread}/schedstat`).split(' ')[0] ?? ''
  })
  if (nanos.every((text) => text === '')) return ticksOf(pid).own * microsPerTick
  return nanos.reduce((sum, text) => sum + Number(text), 0) / 1000
}

/** A backend of PostgreSQL has one, a worker process of ours several; none when it has ended. */
function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

type Ticks = { readonly own: number; readonly ended: number }

function ticksOf(pid: number): Ticks {
  const fields = readStat(pid)
  const tick = (at: number) => Number(fields[at] ?? 0)
  return { own: tick(11) + tick(12), ended: tick(13) + tick(14) }
}

/** proc_pid_stat(5) from its third field on: the name before it may hold spaces and parentheses. */
function readStat(pid: number): readonly string[] {
  const stat = readProc(`${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Empty when the process has ended since it was listed: its parent has its time. */
function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8')
  } catch {
    return ''
  }
}
