// How a command ends that met a server which goes away: with what happened, not with a stack.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { runProgram } from './program.ts'

describe('a command whose server closes the connection', () => {
  it('says so in one line', async () => {
    const server = createServer((socket) => socket.on('data', () => socket.end()))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address: AddressInfo | string | null = server.address()
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0
    const dir = await mkdtemp(join(tmpdir(), 'rf-cli-'))
    const shards = ['s1', 's2'].map((id) => ({ id, primary: `postgres://127.0.0.1:${port}/${id}` }))
    const config = {
      users: [{ name: 'app', password: 'pencil' }],
      databases: { app: { server_user: { name: 'app' }, shards, sharding: { key: 'tenant_id' } } },
    }
    const path = join(dir, 'ringfence.yaml')
    await writeFile(path, JSON.stringify(config))
    const { code, stderr } = await runProgram(['rebalance', 'resume', '--yes', '--config', path])
    await rm(dir, { recursive: true })
    server.close()
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'ringfence: Connection terminated unexpectedly\n',
    })
  })
})
