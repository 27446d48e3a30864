// Options that several commands share, and how their texts are read. A wrong text ends with exit code 2.
import { InvalidArgumentError, Option } from 'commander'
import { duration } from '../config/kinds.ts'

/** A proxy as `--proxy` names it; without a port the file's own is meant. */
export type ProxyAt = { readonly host: string; readonly port: number | null }

/** `--config`, also from RINGFENCE_CONFIG. */
export function configOption(): Option {
  return new Option('-c, --config <file>', 'configuration file')
    .default('ringfence.yaml')
    .env('RINGFENCE_CONFIG')
}

/** `--database`: which one of the file. */
export function databaseOption(): Option {
  const about = 'database of the configuration; needed when there are several'
  return new Option('-d, --database <name>', about)
}

/** `--json`. */
export function jsonOption(about = 'print JSON'): Option {
  return new Option('--json', about).default(false)
}

/** `--proxy`, repeatable; gives `ProxyAt[]`. */
export function proxyOption(): Option {
  return new Option('--proxy <host:port>', 'a proxy, repeatable')
    .argParser(proxyAt)
    .default([], "the file's own")
}

/** Reads a whole number from `minimum` to `maximum`. */
export function atLeast(minimum: number, maximum = 65_535): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (Number.isInteger(number) && number >= minimum && number <= maximum) return number
    throw new InvalidArgumentError(`It takes a whole number from ${minimum}.`)
  }
}

/** Reads a duration with its unit; gives milliseconds. */
export function milliseconds(text: string): number {
  const parsed = duration({ minMs: 1 }).schema.safeParse(text)
  if (parsed.success) return parsed.data
  throw new InvalidArgumentError('Write it like 30s, 500ms or 2m.')
}

function proxyAt(text: string, earlier: readonly ProxyAt[]): readonly ProxyAt[] {
  const [, host, port] = /^(\[[\da-fA-F:.]+\]|[^:\s]+)(?::(\d{1,5}))?$/.exec(text) ?? []
  if (host === undefined || Number(port ?? 0) > 65_535) {
    throw new InvalidArgumentError('Write it like 10.0.0.1:6432.')
  }
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  return [...earlier, { host: bare, port: port === undefined ? null : Number(port) }]
}
