// SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: one row per connection.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Cell } from '../fleet.ts'
import type { ClientLink, Links, ServerLink } from './links.ts'
import { eachWorker, type View } from './view.ts'
import type { AdminWorld } from './world.ts'

const columns = `type user database replication state addr port:int4 local_addr local_port:int4 connect_time request_time
  wait:int4 wait_us:int4 close_needed:int4 ptr link remote_pid:int4 tls application_name
  prepared_statements:int4 id:int4`
const bufferColumns = `${columns} recv_pos:int4 pkt_pos:int4 pkt_remain:int4 send_pos:int4 send_remain:int4
  pkt_avail:int4 send_avail:int4`

/** By name, lower case. */
export function socketViews(
  world: AdminWorld,
  links: Links,
): Readonly<Record<'clients' | 'servers' | 'sockets' | 'active_sockets', View>> {
  const clients = () => links.clients(world)
  const sockets = (wanted: (row: Described) => boolean) => () => {
    const all = clients()
    return [
      ...all.map((client) => clientRow(client, world, links)),
      ...links.servers(world, all).map((server) => serverRow(server, world)),
    ]
      .filter(wanted)
      .map(({ type, cells, received, unsent }) => {
        const prefix = type === 'C' ? 'cl_' : 'sv_'
        const named = cells.map((cell, at) => (at === stateAt ? `${prefix}${String(cell)}` : cell))
        return [...named, 0, 0, 0, 0, 0, received, unsent]
      })
  }
  return {
    clients: eachWorker(columns, 'servers pinned', () =>
      clients().map((client) => {
        const { leases } = client.session.state
        const held = [...leases].map(({ server }) => server.shard)
        const { cells } = clientRow(client, world, links)
        return [...cells, held.join(', '), leases.pinReasons.join(', ')]
      }),
    ),
    servers: eachWorker(columns, 'shard role', () =>
      links.servers(world, clients()).map((link) => {
        const { shard, target } = link.server
        return [...serverRow(link, world).cells, shard, target.role]
      }),
    ),
    sockets: eachWorker(
      bufferColumns,
      '',
      sockets(() => true),
    ),
    active_sockets: eachWorker(
      bufferColumns,
      '',
      sockets(({ received, unsent }) => received > 0 || unsent > 0),
    ),
  }
}

type Described = {
  readonly type: 'C' | 'S'
  readonly cells: readonly Cell[]
  /** Bytes that have come and not been worked on, and bytes that wait to be sent. */
  readonly received: number
  readonly unsent: number
}

const stateAt = 4

function clientRow(link: ClientLink, world: AdminWorld, links: Links): Described {
  const { id, session, servers, waitUs } = link
  const { state, socket, times, output } = session
  const [server] = servers
  const cells = [
    'C',
    state.client.name,
    state.database.options.name,
    'none',
    link.state,
    ...addresses(socket, false),
    wallTime(session.connectedAtMs, world),
    wallTime(times.requestAtMs, world),
    Math.floor(waitUs / 1e6),
    waitUs % 1e6,
    0,
    pointer(id),
    server === undefined ? '' : pointer(links.idOf(server, world)),
    0,
    tlsOf(socket),
    output.parameter('application_name') ?? '',
    [...state.statements.keys()].filter((name) => name !== '').length,
    id,
  ]
  return { type: 'C', cells, received: 0, unsent: socket.writableLength }
}

function serverRow({ id, database, pool, server, client, state }: ServerLink, world: AdminWorld) {
  const { target, socket } = server
  const requestAtMs = client === null ? server.idleSinceMs : client.session.times.requestAtMs
  const cells = [
    'S',
    pool.user,
    database.options.name,
    'none',
    state,
    ...addresses(socket, true, target.host),
    wallTime(server.connectedAtMs, world),
    wallTime(requestAtMs || server.connectedAtMs, world),
    0,
    0,
    0,
    pointer(id),
    client === null ? '' : pointer(client.id),
    server.processId,
    tlsOf(socket),
    client?.session.output.parameter('application_name') ?? '',
    server.prepared.size,
    id,
  ]
  return { type: 'S' as const, cells, received: 0, unsent: server.pendingBytes }
}

/** Where the other side is, and where we are; a Unix socket has no addresses. */
function addresses(socket: Socket, dialled: boolean, host = ''): readonly Cell[] {
  const { remoteAddress, remotePort, localAddress, localPort } = socket
  if (remoteAddress === undefined) return [dialled && host !== '' ? host : 'unix', 0, 'unix', 0]
  return [plain(remoteAddress), remotePort ?? 0, plain(localAddress ?? ''), localPort ?? 0]
}

/** An IPv4 peer of a dual-stack socket. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}

function tlsOf(socket: Socket): string {
  if (!(socket instanceof TLSSocket)) return ''
  return [socket.getProtocol() ?? '', socket.getCipher().name].join('/')
}

/** A monotonic time as PgBouncer writes times. */
function wallTime(ms: number, { clock }: AdminWorld): string {
  const at = new Date(Date.now() - (clock.nowMs() - ms))
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

function pointer(id: number): string {
  return `0x${id.toString(16)}`
}
