// The stand-in for Redis: the same bytes as redis-server, which answers the same tests where it is installed; and no bytes
// that bring it down.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import * as fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { leaveScript, storeScript } from '../../catalog/token-store-scripts.ts'
import { freePort } from '../../demo/ports.ts'
import { RedisStandIn } from '../../demo/redis-stand-in/server.ts'
import { command, redisKinds, type RunningRedis } from '../catalog/redis-servers.ts'
import { pause, until } from '../support/clients.ts'

/** A connection as bytes. */
class Talk {
  readonly socket: Socket
  heard = ''

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1' })
    this.socket.on('data', (chunk: Buffer) => {
      this.heard += chunk.toString('latin1')
    })
    this.socket.on('error', () => undefined)
  }

  /** What is answered to `bytes`; the end is known by the answer to an ECHO behind them. */
  async say(bytes: string): Promise<string> {
    this.heard = ''
    this.socket.write(Buffer.from(`${bytes}${words('ECHO', '~end~')}`, 'latin1'))
    const end = '$5\r\n~end~\r\n'
    await until('an answer', () => this.heard.endsWith(end) || this.socket.readyState === 'closed')
    return this.heard.endsWith(end) ? this.heard.slice(0, -end.length) : this.heard
  }
}

function words(...list: readonly string[]): string {
  return `*${list.length}\r\n${list.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

const wrongType = '-WRONGTYPE Operation against a key holding the wrong kind of value\r\n'
const notInteger = '-ERR value is not an integer or out of range\r\n'

/** Commands in order on one connection, and what is answered. */
const dialogue: readonly (readonly [string, string])[] = [
  ['PING', '+PONG\r\n'],
  ['ping hello', '$5\r\nhello\r\n'],
  ['PING a b', "-ERR wrong number of arguments for 'ping' command\r\n"],
  ['ECHO "a\\x00\\n\\"b"', '$5\r\na\0\n"b\r\n'],
  ["ECHO 'it\\'s'", "$4\r\nit's\r\n"],
  ['ECHO', "-ERR wrong number of arguments for 'echo' command\r\n"],
  ['NIX one two', "-ERR unknown command 'NIX', with args beginning with: 'one' 'two' \r\n"],
  ['GET k', '$-1\r\n'],
  ['SET k v', '+OK\r\n'],
  ['SET k w NX', '$-1\r\n'],
  ['GET k', '$1\r\nv\r\n'],
  ['SET k w PX 0', "-ERR invalid expire time in 'set' command\r\n"],
  ['SET k w PX x', notInteger],
  ['SET k w PX', '-ERR syntax error\r\n'],
  ['SET k w NX NX PX 9 EX 9', '-ERR syntax error\r\n'],
  ['TTL k', ':-1\r\n'],
  ['TTL nothing', ':-2\r\n'],
  ['SET k w EX 100', '+OK\r\n'],
  ['TTL k', ':100\r\n'],
  ['EXPIRE k 50', ':1\r\n'],
  ['TTL k', ':50\r\n'],
  ['EXPIRE k x', notInteger],
  ['PEXPIRE nothing 50', ':0\r\n'],
  ['PEXPIRE k -1', ':1\r\n'],
  ['GET k', '$-1\r\n'],
  ['HSET h a 1 b 2', ':2\r\n'],
  ['HSET h a 3', ':0\r\n'],
  ['HSET h a', "-ERR wrong number of arguments for 'hset' command\r\n"],
  ['HGET h a', '$1\r\n3\r\n'],
  ['HGET h z', '$-1\r\n'],
  ['HGETALL h', '*4\r\n$1\r\na\r\n$1\r\n3\r\n$1\r\nb\r\n$1\r\n2\r\n'],
  ['HLEN h', ':2\r\n'],
  ['GET h', wrongType],
  ['SET s x', '+OK\r\n'],
  ['HSET s a 1', wrongType],
  ['HGETALL s', wrongType],
  ['EXISTS h s s nothing', ':3\r\n'],
  ['DBSIZE', ':2\r\n'],
  ['KEYS ?', '*2\r\n$1\r\nh\r\n$1\r\ns\r\n'],
  ['SCAN 0 MATCH h* COUNT 10', '*2\r\n$1\r\n0\r\n*1\r\n$1\r\nh\r\n'],
  ['SCAN x', '-ERR invalid cursor\r\n'],
  ['HDEL h a b z', ':2\r\n'],
  ['EXISTS h', ':0\r\n'],
  ['DEL s nothing', ':1\r\n'],
  ['SELECT 3', '+OK\r\n'],
  ['SET other x', '+OK\r\n'],
  ['SELECT 0', '+OK\r\n'],
  ['SELECT 99', '-ERR DB index is out of range\r\n'],
  ['SELECT x', '-ERR value is not an integer or out of range\r\n'],
  ['DBSIZE', ':0\r\n'],
  ['PUBLISH nobody x', ':0\r\n'],
  ['CLIENT SETNAME me', '+OK\r\n'],
  ['CLIENT GETNAME', '$2\r\nme\r\n'],
  ['CLIENT NIX', "-ERR unknown subcommand 'NIX'. Try CLIENT HELP.\r\n"],
  ['HELLO 9', '-NOPROTO unsupported protocol version\r\n'],
  ['HELLO x', '-ERR Protocol version is not an integer or out of range\r\n'],
  [
    'EVALSHA ffffffffffffffffffffffffffffffffffffffff 0',
    '-NOSCRIPT No matching script. Please use EVAL.\r\n',
  ],
  [`SCRIPT EXISTS ${leaveScript.sha}`, '*1\r\n:0\r\n'],
  ['FLUSHALL', '+OK\r\n'],
  ['SELECT 3', '+OK\r\n'],
  ['DBSIZE', ':0\r\n'],
]

/** Bytes that end the connection, and the last words on it. */
const mistakes: readonly (readonly [string, string])[] = [
  ['*1\r\n$x\r\n', '-ERR Protocol error: invalid bulk length\r\n'],
  ['*1\r\n:1\r\n', "-ERR Protocol error: expected '$', got ':'\r\n"],
  ['*x\r\n', '-ERR Protocol error: invalid multibulk length\r\n'],
  ['*99999999999\r\n', '-ERR Protocol error: invalid multibulk length\r\n'],
  ['GET "a\r\n', '-ERR Protocol error: unbalanced quotes in request\r\n'],
  ['PING\r\n*1\r\n$-1\r\n', '+PONG\r\n-ERR Protocol error: invalid bulk length\r\n'],
  ['x'.repeat(70_000), '-ERR Protocol error: too big inline request\r\n'],
]

describe.each(redisKinds())('$name', (kind) => {
  let server: RunningRedis
  beforeAll(async () => {
    server = await kind.start(await freePort())
  })
  afterAll(() => server.kill())
  beforeEach(() => command(server.port, 'FLUSHALL'))

  it('answers commands, right and wrong, in these words', async () => {
    const talk = new Talk(server.port)
    const answers: (readonly [string, string])[] = []
    for (const [line] of dialogue) {
      const answer = await talk.say(`${line}\r\n`)
      // Redis gives keys in any order.
      const sorted =
        line === 'KEYS ?'
          ? answer.replace('$1\r\ns\r\n$1\r\nh\r\n', '$1\r\nh\r\n$1\r\ns\r\n')
          : answer
      answers.push([line, sorted])
    }
    talk.socket.destroy()
    expect(answers).toEqual(dialogue)
  })

  it.each(mistakes)('ends a connection that says %j', async (bytes, lastWords) => {
    const talk = new Talk(server.port)
    const closed = once(talk.socket, 'close')
    talk.socket.write(Buffer.from(bytes, 'latin1'))
    await closed
    expect(talk.heard).toBe(lastWords)
  })

  it('understands commands however their bytes are cut', async () => {
    const talk = new Talk(server.port)
    for (const byte of `${words('SET', 'k', 'a\r\nb')}\r\nPING\r\n${words('GET', 'k')}`) {
      talk.socket.write(Buffer.from(byte, 'latin1'))
      await pause(0)
    }
    const answers = '+OK\r\n+PONG\r\n$4\r\na\r\nb\r\n'
    await until('the answers', () => talk.heard.length >= answers.length)
    expect(talk.heard).toBe(answers)
    talk.socket.destroy()
  })

  it('speaks the third version of the protocol after HELLO 3', async () => {
    const talk = new Talk(server.port)
    expect(await talk.say('HELLO 3 SETNAME me\r\n')).toMatch(/^%7\r\n\$6\r\nserver\r\n\$5\r\nredis/)
    expect(await talk.say('HSET h a 1\r\nHGETALL h\r\nGET no\r\n')).toBe(
      ':1\r\n%1\r\n$1\r\na\r\n$1\r\n1\r\n_\r\n',
    )
    expect(await talk.say('SUBSCRIBE c\r\nPUBLISH c x\r\n')).toContain(
      '>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n',
    )
    talk.socket.destroy()
  })

  it('carries messages to subscribers, who may do little else in version 2', async () => {
    const talk = new Talk(server.port)
    talk.socket.write('SUBSCRIBE c d\r\nPING\r\nGET k\r\n')
    await until('the answers', () => talk.heard.includes('-ERR'))
    expect(await command(server.port, 'PUBLISH', 'c', 'x')).toBe(1)
    talk.socket.write('UNSUBSCRIBE c\r\nUNSUBSCRIBE\r\nGET k\r\n')
    await until('the message', () => talk.heard.endsWith('$-1\r\n'))
    talk.socket.destroy()
    expect(talk.heard).toBe(
      '*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n' +
        '*2\r\n$4\r\npong\r\n$0\r\n\r\n' +
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET " +
        'are allowed in this context\r\n' +
        '*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n' +
        '*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nd\r\n:0\r\n$-1\r\n',
    )
  })

  it('forgets keys when their time is up', async () => {
    const talk = new Talk(server.port)
    expect(await talk.say('SET k v PX 80\r\nSET l v PX 80 NX\r\n')).toBe('+OK\r\n+OK\r\n')
    expect(Number((await talk.say('PTTL k\r\n')).slice(1))).toBeGreaterThan(0)
    await pause(120)
    expect(await talk.say('EXISTS k l\r\nDBSIZE\r\nSET k v NX\r\n')).toBe(':0\r\n:0\r\n+OK\r\n')
    talk.socket.destroy()
  })

  it('says its time and who it is', async () => {
    const [seconds, micros] = [await command(server.port, 'TIME')].flat()
    expect(Math.abs(Number(seconds) + Number(micros) / 1e6 - Date.now() / 1000)).toBeLessThan(5)
    const info = String(await command(server.port, 'INFO', 'server'))
    expect(info).toMatch(/^run_id:[\da-f]{40}\r$/m)
    expect(String(await command(server.port, 'INFO', 'memory'))).toMatch(/^maxmemory:0\r$/m)
  })
})

describe('the stand-in', () => {
  const standIn = new RedisStandIn()
  beforeAll(() => standIn.start(0))
  afterAll(() => standIn.stop())

  it('lives on, whatever bytes it is sent', async () => {
    const word = fc.oneof(
      fc.constantFrom(
        'SET',
        'HSET',
        'HGETALL',
        'SCAN',
        'KEYS',
        'HELLO',
        'EVALSHA',
        'PEXPIRE',
        'CLIENT',
      ),
      fc.constantFrom(
        '0',
        '-1',
        '1',
        '9007199254740993',
        '',
        '*',
        'PX',
        'NX',
        'MATCH',
        storeScript.sha,
      ),
      fc.string({ maxLength: 8 }),
    )
    const bytes = fc.oneof(
      fc.array(word, { minLength: 1, maxLength: 6 }).map((list) => words(...list)),
      fc.array(word, { maxLength: 5 }).map((list) => `${list.join(' ')}\r\n`),
      fc.string({ maxLength: 20, unit: 'binary' }),
      fc.constantFrom('*', '$', '\r\n', '*3\r\n', '*-1\r\n', '$5\r\n', '"', '\0'),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(bytes, { maxLength: 8 }), async (chunks) => {
        const talk = new Talk(standIn.port)
        for (const chunk of chunks) talk.socket.write(Buffer.from(chunk, 'latin1'))
        talk.socket.end()
        await once(talk.socket, 'close')
        expect(await command(standIn.port, 'PING')).toBe('PONG')
      }),
      { numRuns: 150 },
    )
  })

  it('has a new run id every time, and a port that others cannot take', async () => {
    const other = new RedisStandIn()
    await expect(other.start(standIn.port)).rejects.toThrow('EADDRINUSE')
    await other.stop()
    const next = new RedisStandIn()
    await next.start(0)
    const runs = await Promise.all(
      [standIn.port, next.port].map(
        async (port) => String(await command(port, 'INFO')).match(/run_id:\w+/)?.[0],
      ),
    )
    await next.stop()
    expect(new Set(runs).size).toBe(2)
  })
})
