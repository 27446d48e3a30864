// What runs inside Redis, so that it happens at once, and how its arguments and answers are written. Every script
// touches one key, so that each may live on any node of a cluster. The stand-in server of the demo knows
// these scripts by their SHA1 and does the same in TypeScript; the tests compare the two.
import { createHash } from 'node:crypto'
import { shardId, type ShardId } from '../core/ids.ts'
import { lsn } from '../core/lsn.ts'
import type { Position, Positions } from '../core/position.ts'

/** Lua and its SHA1, by which Redis keeps it. */
export type Script = { readonly lua: string; readonly sha: string }

/**
 * Merges positions into a token: fields are shards, beside them `#born`, when the token was made (ms of Redis).
 * The rule is laterPosition() of core/position.ts. KEYS: the token. ARGV: ttl in ms, then shard, position, ….
 */
export const storeScript = script(`
local shape = '^(%d+):(%d+):(%x+)$'
for i = 2, #ARGV, 2 do
  local known, later = redis.call('HGET', KEYS[1], ARGV[i]), true
  if known then
    local system, timeline, lsn = string.match(known, shape)
    local newSystem, newTimeline, newLsn = string.match(ARGV[i + 1], shape)
    if system == newSystem and timeline == newTimeline then
      later = newLsn > lsn
    elseif system == newSystem then
      later = tonumber(newTimeline) > tonumber(timeline)
    end
  end
  if later then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[1], '#born', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
`)

/**
 * Looks at the registry and, with a deadline, renews one's lease in it. KEYS: the registry. ARGV: proxy, incarnation,
 * deadline (ms of Redis; 0 = only look), generation known, run ids of the cluster's other nodes, length of a
 * lease, age at which an expired entry is forgotten, 1 = begin a new generation, era known, then proxy, incarnation, …
 * of all that are known.
 */
export const beatScript = script(`
local key, own = KEYS[1], 'p:' .. ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local runs = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. ARGV[5]
local lease, forget = tonumber(ARGV[6]), tonumber(ARGV[7])
local head = redis.call('HMGET', key, '#generation', '#era', '#born', '#runs', '#clock', own)
local generation, era, born, clock = head[1], head[2], head[3], tonumber(head[5] or 0)
local fresh, settled, registered, ends = false, true, '0', now
if head[6] then
  local deadline, incarnation = string.match(head[6], '^(%d+) (.*)$')
  ends = tonumber(deadline)
  registered = incarnation == ARGV[2] and '1' or '2'
end
if ARGV[8] == '1' or (registered == '2' and ends <= now) then
  fresh, settled = true, ends + lease <= now
end
local removed = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do
  local deadline = string.match(flat[i + 1], '^(%d+) ')
  if string.sub(flat[i], 1, 2) == 'p:' and flat[i] ~= own and deadline + forget < now then
    redis.call('HDEL', key, flat[i])
    removed[#removed + 1] = string.sub(flat[i], 3)
    fresh = true
  end
end
if not generation or head[4] ~= runs or now + 50 < clock then
  fresh, settled = true, false
end
if fresh then
  generation = time[1] .. '.' .. time[2] .. '.' .. string.sub(ARGV[2], 1, 8)
  born = string.format('%.0f', now)
  if not settled then era = generation end
  for i = 1, #flat, 2 do
    local deadline, rest = string.match(flat[i + 1], '^(%d+)( .*)$')
    if string.sub(flat[i], 1, 2) == 'p:' and tonumber(deadline) > now
      and redis.call('HEXISTS', key, flat[i]) == 1 then
      redis.call('HSET', key, flat[i], born .. rest)
    end
  end
end
if ARGV[9] ~= era then
  for i = 10, #ARGV, 2 do
    redis.call('HSETNX', key, 'p:' .. ARGV[i], string.format('%.0f', now) .. ' ' .. ARGV[i + 1])
  end
end
local deadline, accepted = tonumber(ARGV[3]), '0'
if ARGV[4] == generation and deadline > now and deadline <= now + lease + 50 then
  accepted = '1'
  redis.call('HSET', key, own, ARGV[3] .. ' ' .. ARGV[2])
elseif registered ~= '1' then
  redis.call('HSET', key, own, string.format('%.0f', fresh and now or ends) .. ' ' .. ARGV[2])
end
redis.call('HSET', key, '#generation', generation, '#era', era, '#born', born, '#runs', runs,
  '#clock', string.format('%.0f', now))
return {string.format('%.0f', now), generation, era, born, accepted, registered, removed,
  redis.call('HGETALL', key)}
`)

/** Leaves the registry unless somebody else took the entry over. KEYS: the registry. ARGV: proxy, incarnation. */
export const leaveScript = script(`
local entry = redis.call('HGET', KEYS[1], 'p:' .. ARGV[1])
if not entry or string.match(entry, '^%d+ (.*)$') ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], 'p:' .. ARGV[1])
`)

/** A token as it is stored. `bornMs` by the clock of Redis. */
export type StoredToken = { readonly positions: Positions; readonly bornMs: number }

/** Arguments of storeScript. */
export function storeArguments(ttlMs: number, positions: Positions): readonly string[] {
  const pairs = [...positions].flatMap(([shard, position]) => [shard, formatPosition(position)])
  return [String(ttlMs), ...pairs]
}

/** The token that a hash holds; undefined when there is none, or when a part of it cannot be read. */
export function parseToken(hash: Readonly<Record<string, string>>): StoredToken | undefined {
  const positions = new Map<ShardId, Position>()
  let bornMs: number | undefined
  for (const [field, text] of Object.entries(hash)) {
    if (field === '#born') {
      bornMs = Number(text)
      continue
    }
    const position = parsePosition(text)
    if (position === undefined) return undefined
    positions.set(shardId(field), position)
  }
  if (bornMs === undefined || !Number.isSafeInteger(bornMs) || positions.size === 0)
    return undefined
  return { positions, bornMs }
}

function formatPosition({ systemId, timeline, lsn }: Position): string {
  return `${systemId}:${timeline}:${lsn.toString(16).padStart(16, '0')}`
}

const written = /^(\d{1,20}):(\d{1,10}):([0-9a-f]{16})$/

function parsePosition(text: string): Position | undefined {
  const [, systemId, timeline, hex] = written.exec(text) ?? []
  if (systemId === undefined || timeline === undefined || hex === undefined) return undefined
  return { systemId, timeline: Number(timeline), lsn: lsn(BigInt(`0x${hex}`)) }
}

function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}
