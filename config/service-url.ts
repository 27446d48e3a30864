// URLs of what runs beside the servers: Redis for session ids, Patroni's REST API. Complaints never repeat a
// URL, because it may hold a password.
import { z } from 'zod'
import { complain } from './kinds.ts'

/** `redis://`, `rediss://`, and lists of hosts as `redis+sentinel://` and `redis+cluster://`; as it was written. */
export function redisUrl() {
  const schema = z.unknown().transform((input, context): string => {
    if (typeof input !== 'string') return complain(context, 'is not a redis:// URL', redisShape)
    const [, kind, login, list, path] = redisParts.exec(input) ?? []
    if (list === undefined) return complain(context, 'is not a redis:// URL', redisShape)
    if (/%(?![\da-fA-F]{2})/.test(`${login ?? ''}${path ?? ''}`)) {
      return complain(context, 'bad %-escape in the URL', 'write %25 for "%"')
    }
    const hosts = list.split(',')
    if (!hosts.every(isHost)) {
      return complain(context, 'names a host that is none', 'write hosts like 10.0.0.1:6379')
    }
    if (kind === undefined && hosts.length > 1) {
      const remedy = 'write redis+sentinel://…/master or redis+cluster://… for several hosts'
      return complain(context, 'names several hosts', remedy)
    }
    if (kind === 'sentinel' && !/^\/[^/]+(?:\/\d+)?$/.test(path ?? '')) {
      const remedy = 'write it like redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster'
      return complain(context, 'does not name the master that the sentinels watch', remedy)
    }
    if (kind !== 'sentinel' && !/^(?:\/\d*)?$/.test(path ?? '')) {
      return complain(context, 'ends in something that is no database number', redisShape)
    }
    return input
  })
  return { schema, values: '`redis://…` URL' }
}

/** `http://host:port` or `https://…`; without a slash at its end. */
export function httpUrl() {
  const schema = z.unknown().transform((input, context): string => {
    const url = typeof input === 'string' && URL.canParse(input) ? new URL(input) : null
    if (url === null || !['http:', 'https:'].includes(url.protocol)) {
      return complain(context, 'is not an http:// URL', 'write it like http://10.0.0.1:8008')
    }
    if (url.search !== '' || url.hash !== '') {
      return complain(context, 'has more than host, port and path', 'write the root of the API')
    }
    return url.href.replace(/\/$/, '')
  })
  return { schema, values: '`http://…` URL' }
}

function isHost(text: string): boolean {
  return /^(?:\[[\da-fA-F:.]+\]|[^\s:/[\]]+)(?::\d{1,5})?$/.test(text)
}

const redisShape = 'write it like redis://10.0.0.1:6379'
const redisParts =
  /^rediss?(?:\+(sentinel|cluster))?:\/\/(?:([^@/?#]*)@)?([^@/?#]+)(\/[^?#]*)?(?:\?[^#]*)?$/
