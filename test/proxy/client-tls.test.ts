// TLS towards clients: who may and who must use it, what may come before it and inside it.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { certificateFile } from '../support/certificates.ts'
import { errorFields, present, refusal, value, withClient } from '../support/clients.ts'
import { startupBytes } from '../support/frontend-bytes.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import {
  answer,
  clientTls,
  gssRequest,
  opened,
  secured,
  sslRequest,
  trusting,
  untilEnd,
} from '../support/tls-client.ts'

const servers = present(inject('servers')[0])

let stack: Stack
afterEach(() => stack.close())

async function start(
  change: Parameters<typeof clientTls>[0],
  options: Partial<StackOptions> = {},
): Promise<Stack> {
  stack = await startStack(servers, { shards: 1, tls: clientTls(change), ...options })
  return stack
}

/** `in`, or the SQLSTATE and message of the refusal. */
async function outcome(ssl: false | ReturnType<typeof trusting>): Promise<string> {
  const place = { ...stack.proxy, ssl }
  const login = withClient(place, (client) => value(client, 'SELECT 7'))
  const refused = await refusal(login.then(() => Promise.reject(new Error('in'))))
  return refused.code === undefined ? refused.message : `${refused.code} ${refused.message}`
}

describe('mode', () => {
  const noTls = 'The server does not support SSL connections'
  const demand = /^28000 connection from "127.0.0.1" as user .* must use TLS/
  const noCertificate = '28000 connection requires a valid client certificate'

  it.each([
    { mode: 'disable', plain: 'in', tls: noTls, anna: noTls, stranger: noTls },
    { mode: 'allow', plain: 'in', tls: 'in', anna: 'in', stranger: 'in' },
    { mode: 'prefer', plain: 'in', tls: 'in', anna: 'in', stranger: 'in' },
    { mode: 'require', plain: demand, tls: 'in', anna: 'in', stranger: 'in' },
    {
      mode: 'verify-ca',
      plain: demand,
      tls: noCertificate,
      anna: 'in',
      stranger: noCertificate,
    },
  ] as const)('$mode', async ({ mode, plain, tls, anna, stranger }) => {
    await start({ mode })
    expect(await outcome(false)).toMatch(plain)
    expect(await outcome(trusting())).toMatch(tls)
    expect(await outcome(trusting('client-anna'))).toMatch(anna)
    expect(await outcome(trusting('stranger-anna'))).toMatch(stranger)
  })
})
