// Clients and their connections that die while they log in: at every byte that matters of SCRAM, of SSLRequest and of the
// TLS handshake, in both directions. Nothing is left of them, and the next one logs in.
import { connect as connectTls } from 'node:tls'
import { codesOf, rawClient, until, untilReady, value, withClient } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { Stack } from '../support/stack.ts'
import { answer, opened, sslRequest, trusting } from '../support/tls-client.ts'
import { CuttingRelay, type Direction } from './cutting-relay.ts'
import { byteMark } from './mark.ts'
import { newReport, type Report, type Share, tally } from './report.ts'

type Way = { readonly name: string; readonly login: (stack: Stack, port: number) => Promise<void> }

const ways: readonly Way[] = [
  {
    name: 'SCRAM',
    login: async (stack, port) => {
      const { connection } = await rawClient({ ...stack.proxy, port })
      connection.send(textBytes('Q', 'SELECT 1'))
      const codes = codesOf(await untilReady(connection))
      connection.destroy()
      if (codes !== 'TDCZ') throw new Error(`answered ${codes}`)
    },
  },
  {
    name: 'TLS',
    login: async (_stack, port) => {
      const socket = await opened({ host: '127.0.0.1', port })
      socket.write(sslRequest)
      await answer(socket)
      await new Promise<void>((resolve, reject) => {
        const inside = connectTls({ socket, ...trusting() }, () =>
          resolve(inside.end() && undefined),
        )
        inside.once('error', reject)
        inside.once('close', () => reject(new Error('closed')))
      })
    },
  },
]

/** Bytes between two cuts within a handshake, whose messages are not to be seen from outside. */
const stepBytes = 37

/** A stack with SCRAM and, where `tls`, TLS towards clients. */
export async function cutLogins(stack: Stack, share: Share): Promise<Report> {
  const report = newReport('logins that are cut')
  const relay = new CuttingRelay({ host: '127.0.0.1', port: stack.proxy.port })
  await relay.listen()
  try {
    await withClient(stack.proxy, async (bystander) => {
      for (const way of ways) {
        for (const direction of ['up', 'down'] as const) {
          const complaints = await cutWay({ stack, relay, share, report }, way, direction)
          report.complaints.push(...complaints)
          const told = await value(bystander, 'SHOW work_mem')
          if (told !== '4MB') report.complaints.push(`${way.name}: the bystander is disturbed`)
        }
      }
    })
  } finally {
    await relay.close()
  }
  return report
}

type Run = {
  readonly stack: Stack
  readonly relay: CuttingRelay
  readonly share: Share
  readonly report: Report
}

async function cutWay(
  { stack, relay, share, report }: Run,
  { name, login }: Way,
  direction: Direction,
): Promise<string[]> {
  relay.record(direction, true)
  await login(stack, relay.port)
  const total = relay.recorded().length
  const complaints: string[] = []
  for (let bytes = 0; bytes < total; bytes += bytes < 16 ? 1 : stepBytes) {
    if (!share()) continue
    const end = { kind: bytes % 2 === 0 ? 'rst' : 'fin' } as const
    relay.arm({ direction, mark: byteMark(bytes), end, fresh: true })
    const outcome = await login(stack, relay.port).then(
      () => 'in',
      () => 'broken off',
    )
    relay.disarm()
    tally(report, `${name} ${outcome}`)
    if (outcome === 'in') complaints.push(`${name} ${direction} byte ${bytes}: it was not cut`)
    const gone = () => stack.instance.sessions.size === 1 && stack.poolStats().leased === 0
    const left = await until('it is gone', gone).catch(String)
    if (left !== undefined) complaints.push(`${name} ${direction} byte ${bytes}: ${left}`)
  }
  await login(stack, relay.port).catch((error: unknown) => {
    complaints.push(`${name} ${direction}: the next login fails: ${String(error)}`)
  })
  return complaints
}
