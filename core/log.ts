// Logging: JSON lines for machines, short coloured lines on a terminal. Never parameters, never secrets.
import { pino, type Logger } from 'pino'
import { default as pretty } from 'pino-pretty'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A log and its children, whose level can be changed together. */
export type AdjustableLog = { readonly log: Log; readonly setLevel: (level: LogLevel) => void }

/** Logger that writes to stderr: stdout belongs to the command's own output. */
export function createLog(level: LogLevel): Log {
  return createAdjustableLog(level).log
}

/** The same; `labels` stand on every line. Children have the level of their birth otherwise (pino). */
export function createAdjustableLog(
  level: LogLevel,
  labels: Readonly<Record<string, number>> = {},
): AdjustableLog {
  const children: Log[] = []
  const onChild = (child: Log) => {
    children.push(child)
  }
  const options = { level, base: labels, onChild }
  const log = process.stderr.isTTY
    ? pino(options, prettyStream())
    : pino(options, pino.destination(2))
  const setLevel = (to: LogLevel) => {
    for (const each of [log, ...children]) each.level = to
  }
  return { log, setLevel }
}

function prettyStream() {
  return pretty({ destination: 2, sync: true, ignore: 'pid,hostname', colorize: true })
}
