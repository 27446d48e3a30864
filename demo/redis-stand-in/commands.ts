// The commands that the stand-in knows: a small part of Redis', each with Redis' replies and errors.
import { matchesGlob } from './glob.ts'
import { type Keyspace, RedisError, wallClockMs } from './keyspace.ts'
import { integerOf, type ProtocolVersion, type Reply } from './resp.ts'
import { isKnownScript, runScript, scriptSha } from './scripts.ts'

/** What a command may touch: the server's state and that of its own connection. */
export type CommandContext = {
  readonly server: {
    readonly runId: string
    readonly startedAtMs: number
    readonly databases: readonly Keyspace[]
    /** SHA1s that EVALSHA finds. */
    readonly loadedScripts: Set<string>
    /** How many subscribers got it. */
    publish(channel: string, message: string): number
  }
  readonly connection: {
    readonly id: number
    version: ProtocolVersion
    database: number
    name: string
    readonly channels: Set<string>
    /** Sends it before the reply of the command under way. */
    send(reply: Reply): void
    /** Closes after the reply. */
    end(): void
  }
}

/** `arity` as Redis counts: with the name; negative: at least. No reply: it was sent already. */
type Command = {
  readonly arity: number
  readonly run: (args: readonly string[], context: CommandContext) => Reply | undefined
}

const redisVersion = '7.0.15'
const ok: Reply = { status: 'OK' }

/** Runs one command; words[0] is its name. Every failure is an error reply. */
export function runCommand(words: readonly string[], context: CommandContext): Reply | undefined {
  const [name = '', ...args] = words
  const command = commands.get(name.toLowerCase())
  if (command === undefined) return { error: unknownCommand(name, args) }
  const { arity } = command
  if (arity < 0 ? words.length < -arity : words.length !== arity) return wrongCount(name)
  const { version, channels } = context.connection
  if (version === 2 && channels.size > 0 && !subscriberMay.has(name.toLowerCase())) {
    const allowed = '(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET'
    const error = `ERR Can't execute '${name.toLowerCase()}': only ${allowed} are allowed in this context`
    return { error }
  }
  try {
    return command.run(args, context)
  } catch (thrown) {
    if (thrown instanceof RedisError) return { error: thrown.message }
    throw thrown
  }
}

const subscriberMay: ReadonlySet<string> = new Set(['subscribe', 'unsubscribe', 'ping', 'quit'])

const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['ping', { arity: -1, run: ping }],
  ['echo', { arity: 2, run: ([text = '']) => text }],
  ['hello', { arity: -1, run: hello }],
  ['auth', { arity: -2, run: auth }],
  ['client', { arity: -2, run: client }],
  ['command', { arity: -1, run: () => [] }],
  ['info', { arity: -1, run: info }],
  ['select', { arity: 2, run: select }],
  ['time', { arity: 1, run: time }],
  ['get', { arity: 2, run: ([key = ''], context) => keys(context).string(key) ?? null }],
  ['set', { arity: -3, run: set }],
  ['del', { arity: -2, run: (args, context) => count(args, (key) => keys(context).delete(key)) }],
  ['exists', { arity: -2, run: (args, context) => count(args, (key) => keys(context).has(key)) }],
  ['pexpire', { arity: -3, run: (args, context) => expire(args, 1, 'pexpire', context) }],
  ['expire', { arity: -3, run: (args, context) => expire(args, 1000, 'expire', context) }],
  ['pttl', { arity: 2, run: (args, context) => timeLeft(args, 1, context) }],
  ['ttl', { arity: 2, run: (args, context) => timeLeft(args, 1000, context) }],
  ['hset', { arity: -4, run: hset }],
  ['hget', { arity: 3, run: hget }],
  ['hgetall', { arity: 2, run: hgetall }],
  ['hdel', { arity: -3, run: hdel }],
  ['hlen', { arity: 2, run: ([key = ''], context) => keys(context).hash(key)?.size ?? 0 }],
  ['keys', { arity: 2, run: ([glob = ''], context) => matching(glob, context) }],
  ['scan', { arity: -2, run: scan }],
  ['dbsize', { arity: 1, run: (_, context) => keys(context).size }],
  ['flushall', { arity: -1, run: flushall }],
  ['subscribe', { arity: -2, run: subscribe }],
  ['unsubscribe', { arity: -1, run: unsubscribe }],
  ['publish', { arity: 3, run: ([to = '', text = ''], { server }) => server.publish(to, text) }],
  ['eval', { arity: -3, run: evalText }],
  ['evalsha', { arity: -3, run: evalSha }],
  ['script', { arity: -2, run: script }],
  ['quit', { arity: -1, run: quit }],
])

function keys({ server, connection }: CommandContext): Keyspace {
  const keyspace = server.databases[connection.database]
  if (keyspace === undefined) throw new RedisError('ERR DB index is out of range')
  return keyspace
}

function ping(args: readonly string[], { connection }: CommandContext): Reply {
  if (args.length > 1) return wrongCount('ping')
  if (connection.version === 2 && connection.channels.size > 0) return ['pong', args[0] ?? '']
  return args[0] ?? { status: 'PONG' }
}

function hello(args: readonly string[], { connection }: CommandContext): Reply {
  const [version, ...options] = args
  if (version !== undefined && integerOf(version) === undefined) {
    return { error: 'ERR Protocol version is not an integer or out of range' }
  }
  if (version !== undefined && version !== '2' && version !== '3') {
    return { error: 'NOPROTO unsupported protocol version' }
  }
  let name: string | undefined
  for (let at = 0; at < options.length; at += 2) {
    if (options[at]?.toLowerCase() !== 'setname' || options[at + 1] === undefined) {
      return { error: `ERR Syntax error in HELLO option '${options[at] ?? ''}'` }
    }
    name = options[at + 1]
  }
  connection.name = name ?? connection.name
  if (version !== undefined) connection.version = version === '3' ? 3 : 2
  return {
    pairs: [
      ['server', 'redis'],
      ['version', redisVersion],
      ['proto', connection.version],
      ['id', connection.id],
      ['mode', 'standalone'],
      ['role', 'master'],
      ['modules', []],
    ],
  }
}

function auth(): Reply {
  return {
    error:
      'ERR AUTH <password> called without any password configured for the default user. ' +
      'Are you sure your configuration is correct?',
  }
}

function client(args: readonly string[], { connection }: CommandContext): Reply {
  const [subcommand = '', first] = args
  switch (subcommand.toLowerCase()) {
    case 'setname':
      connection.name = first ?? ''
      return ok
    case 'getname':
      return connection.name === '' ? null : connection.name
    case 'setinfo':
      return ok
    case 'id':
      return connection.id
    default:
      return unknownSubcommand(subcommand, 'CLIENT')
  }
}

function info(_: readonly string[], { server }: CommandContext): Reply {
  const uptime = Math.floor((wallClockMs() - server.startedAtMs) / 1000)
  return [
    `# Server\r\nredis_version:${redisVersion}\r\nredis_mode:standalone`,
    `process_id:${process.pid}\r\nrun_id:${server.runId}\r\nuptime_in_seconds:${uptime}\r\n`,
    '# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n',
    '# Persistence\r\nloading:0\r\n',
    '# Replication\r\nrole:master\r\nconnected_slaves:0\r\n',
  ].join('\r\n')
}

function select([text = '']: readonly string[], { server, connection }: CommandContext): Reply {
  const index = integer(text)
  if (server.databases[index] === undefined) return { error: 'ERR DB index is out of range' }
  connection.database = index
  return ok
}

function time(): Reply {
  const micros = Math.floor(wallClockMs() * 1000)
  return [String(Math.floor(micros / 1e6)), String(micros % 1e6)]
}

function set(
  [key = '', value = '', ...options]: readonly string[],
  context: CommandContext,
): Reply {
  let onlyNew = false
  let endMs: number | null = null
  for (let at = 0; at < options.length; at += 1) {
    const option = options[at]?.toLowerCase()
    if (option === 'nx' && !onlyNew) onlyNew = true
    else if ((option === 'px' || option === 'ex') && endMs === null) {
      at += 1
      const amount = options[at]
      if (amount === undefined) return syntaxError
      endMs = endOf(integer(amount), option === 'ex' ? 1000 : 1, 'set')
    } else return syntaxError
  }
  if (onlyNew && keys(context).has(key)) return null
  keys(context).setString(key, value, endMs)
  return ok
}

function expire(
  [key = '', amount = '', ...options]: readonly string[],
  unitMs: number,
  name: string,
  context: CommandContext,
): Reply {
  const value = integer(amount)
  if (options.length > 0) return { error: `ERR Unsupported option ${options[0] ?? ''}` }
  if (Math.abs(value) * unitMs > Number.MAX_SAFE_INTEGER) return invalidExpire(name)
  return keys(context).expire(key, wallClockMs() + value * unitMs) ? 1 : 0
}

function timeLeft([key = '']: readonly string[], unitMs: number, context: CommandContext): Reply {
  const endMs = keys(context).endOf(key)
  if (endMs === undefined) return -2
  return endMs === null ? -1 : Math.round((endMs - wallClockMs()) / unitMs)
}

function hset([key = '', ...pairs]: readonly string[], context: CommandContext): Reply {
  if (pairs.length % 2 === 1) return wrongCount('hset')
  let added = 0
  for (let at = 0; at < pairs.length; at += 2) {
    if (keys(context).setField(key, pairs[at] ?? '', pairs[at + 1] ?? '')) added += 1
  }
  return added
}

function hget([key = '', field = '']: readonly string[], context: CommandContext): Reply {
  return keys(context).hash(key)?.get(field) ?? null
}

function hgetall([key = '']: readonly string[], context: CommandContext): Reply {
  return { pairs: [...(keys(context).hash(key) ?? [])] }
}

function hdel([key = '', ...fields]: readonly string[], context: CommandContext): Reply {
  return count(fields, (field) => keys(context).deleteField(key, field))
}

/** All in one go: the cursor that it ends with is 0. */
function scan([cursor = '', ...options]: readonly string[], context: CommandContext): Reply {
  if (!/^\d{1,20}$/.test(cursor)) return { error: 'ERR invalid cursor' }
  let glob = '*'
  for (let at = 0; at < options.length; at += 2) {
    const value = options[at + 1]
    const option = options[at]?.toLowerCase()
    if (value === undefined || (option !== 'match' && option !== 'count')) return syntaxError
    if (option === 'match') glob = value
    else if (integer(value) < 1) return syntaxError
  }
  return ['0', cursor === '0' ? matching(glob, context) : []]
}

function flushall(_: readonly string[], { server }: CommandContext): Reply {
  for (const keyspace of server.databases) keyspace.clear()
  return ok
}

function subscribe(channels: readonly string[], { connection }: CommandContext): undefined {
  for (const channel of channels) {
    connection.channels.add(channel)
    connection.send({ pushed: ['subscribe', channel, connection.channels.size] })
  }
}

function unsubscribe(channels: readonly string[], { connection }: CommandContext): undefined {
  const leaving = channels.length > 0 ? channels : [...connection.channels]
  for (const channel of leaving) {
    connection.channels.delete(channel)
    connection.send({ pushed: ['unsubscribe', channel, connection.channels.size] })
  }
  if (leaving.length === 0) connection.send({ pushed: ['unsubscribe', null, 0] })
}

function evalText([text = '', ...rest]: readonly string[], context: CommandContext): Reply {
  const sha = scriptSha(text)
  if (!isKnownScript(sha)) return { error: 'ERR this server runs only the scripts of Ringfence' }
  context.server.loadedScripts.add(sha)
  return evaluate(sha, rest, context)
}

function evalSha([sha = '', ...rest]: readonly string[], context: CommandContext): Reply {
  const name = sha.toLowerCase()
  if (!context.server.loadedScripts.has(name)) {
    return { error: 'NOSCRIPT No matching script. Please use EVAL.' }
  }
  return evaluate(name, rest, context)
}

function evaluate(sha: string, rest: readonly string[], context: CommandContext): Reply {
  const keyCount = integer(rest[0] ?? '')
  const words = rest.slice(1)
  if (keyCount > words.length) {
    return { error: "ERR Number of keys can't be greater than number of args" }
  }
  if (keyCount < 0) return { error: "ERR Number of keys can't be negative" }
  return runScript(sha, {
    keys: words.slice(0, keyCount),
    args: words.slice(keyCount),
    keyspace: keys(context),
    runId: context.server.runId,
  })
}

function script([subcommand = '', ...args]: readonly string[], { server }: CommandContext): Reply {
  switch (subcommand.toLowerCase()) {
    case 'load': {
      const sha = scriptSha(args[0] ?? '')
      if (!isKnownScript(sha))
        return { error: 'ERR this server runs only the scripts of Ringfence' }
      server.loadedScripts.add(sha)
      return sha
    }
    case 'exists':
      return args.map((sha) => (server.loadedScripts.has(sha.toLowerCase()) ? 1 : 0))
    case 'flush':
      server.loadedScripts.clear()
      return ok
    default:
      return unknownSubcommand(subcommand, 'SCRIPT')
  }
}

function quit(_: readonly string[], { connection }: CommandContext): Reply {
  connection.end()
  return ok
}

function count(words: readonly string[], holds: (word: string) => boolean): number {
  return words.filter(holds).length
}

function matching(glob: string, context: CommandContext): readonly string[] {
  return keys(context)
    .keys()
    .filter((key) => matchesGlob(glob, key))
}

function endOf(amount: number, unitMs: number, name: string): number {
  if (amount <= 0 || amount * unitMs > Number.MAX_SAFE_INTEGER) {
    throw new RedisError(`ERR invalid expire time in '${name}' command`)
  }
  return wallClockMs() + amount * unitMs
}

function integer(text: string): number {
  const value = integerOf(text)
  if (value === undefined) throw new RedisError('ERR value is not an integer or out of range')
  return value
}

const syntaxError: Reply = { error: 'ERR syntax error' }

function invalidExpire(name: string): Reply {
  return { error: `ERR invalid expire time in '${name}' command` }
}

function wrongCount(name: string): Reply {
  return { error: `ERR wrong number of arguments for '${name.toLowerCase()}' command` }
}

function unknownSubcommand(subcommand: string, command: string): Reply {
  return { error: `ERR unknown subcommand '${subcommand.slice(0, 128)}'. Try ${command} HELP.` }
}

function unknownCommand(name: string, args: readonly string[]): string {
  let shown = ''
  for (const word of args) {
    if (shown.length >= 128) break
    shown += `'${word.slice(0, 128 - shown.length)}' `
  }
  return `ERR unknown command '${name.slice(0, 128)}', with args beginning with: ${shown}`
}
