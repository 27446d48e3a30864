// Whose a TCP connection is, as the kernel tells (proc(5)).
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'

/** Local ports of the TCP sockets over IPv4 that process `pid` has open. */
export function portsOf(pid: number): readonly number[] {
  const dir = `/proc/${pid}/fd`
  const inodes = new Set(
    readdirSync(dir).map((fd) => /^socket:\[(\d+)\]$/.exec(linkOf(`${dir}/${fd}`))?.[1] ?? ''),
  )
  const [, ...lines] = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n')
  return lines.flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const port = Number.parseInt(fields[1]?.split(':')[1] ?? '', 16)
    return inodes.has(fields[9] ?? '-') ? [port] : []
  })
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // Closed meanwhile.
    return ''
  }
}
