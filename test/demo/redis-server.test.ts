// Redis for the demo: whose it is and how it ends. The binary here speaks Redis' bytes just enough
// to be found ready.
import { access, chmod, mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startRedis } from '../../demo/redis-server.ts'
import { closeRun, openRun, type Run } from '../../demo/run.ts'
import { openToServers } from '../../demo/server-user.ts'

const answering = `#!${process.execPath}
const port = process.argv[process.argv.indexOf('--port') + 1]
require('node:net').createServer((socket) => {
  socket.on('data', () => socket.write('+PONG\\r\\n'))
  socket.on('error', () => undefined)
}).listen(port, '127.0.0.1')
`

describe('the Redis of the demo', () => {
  let run: Run
  const install = async (name: string, program: string) => {
    const bin = join(run.dir, name)
    await mkdir(bin)
    await openToServers(bin)
    await writeFile(join(bin, 'redis-server'), program)
    await chmod(join(bin, 'redis-server'), 0o755)
    return bin
  }
  beforeAll(async () => {
    run = await openRun(null)
  })
  afterAll(() => run.end())

  it('is the one of REDIS_URL where that is set', async () => {
    const env = { REDIS_URL: 'redis://10.0.0.1:6379', PATH: '' }
    const redis = await startRedis({ dir: join(run.dir, 'given'), env })
    expect(redis.url).toBe('redis://10.0.0.1:6379')
    await redis.stop()
    await expect(access(join(run.dir, 'given'))).rejects.toThrow('ENOENT')
  })

  it('is the stand-in when there is no redis-server on the PATH', async () => {
    const env = { PATH: `${run.dir}:/nowhere` }
    const redis = await startRedis({ dir: join(run.dir, 'none'), env })
    const { port } = new URL(redis.url)
    expect(await isAnswered(Number(port))).toBe(true)
    await redis.stop()
    expect(await isAnswered(Number(port))).toBe(false)
    await expect(access(join(run.dir, 'none'))).rejects.toThrow('ENOENT')
  })

  it('is a server of our own that answers, and is gone after stop', async () => {
    const bin = await install('answering', answering)
    const redis = await startRedis({ dir: join(run.dir, 'own'), env: { PATH: `/nowhere:${bin}` } })
    const { port } = new URL(redis.url)
    expect(await isAnswered(Number(port))).toBe(true)
    await redis.stop()
    expect(await isAnswered(Number(port))).toBe(false)
  })

  it('is stopped by the next run when its owner died', async () => {
    const bin = await install('orphaned', answering)
    const redis = await startRedis({ dir: join(run.dir, 'orphan'), env: { PATH: bin } })
    const { port } = new URL(redis.url)
    await closeRun(run.dir, true)
    // A process of several threads counts as gone once its first one is.
    await expect.poll(() => isAnswered(Number(port)), { timeout: 10_000 }).toBe(false)
  })

  it('is an error when redis-server ends at once', async () => {
    const bin = await install('ending', '#!/bin/sh\nexit 1\n')
    const starting = startRedis({ dir: join(run.dir, 'ended'), env: { PATH: bin } })
    await expect(starting).rejects.toThrow('did not answer')
  })
})

function isAnswered(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
