// Logging: JSON lines for machines, short coloured lines on a terminal. Never parameters, never secrets.
import { pino, type Logger } from 'pino'
import { default as pretty } from 'pino-pretty'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** Logger that writes to stderr: stdout belongs to the command's own output. */
export function createLog(level: LogLevel): Log {
  if (!process.stderr.isTTY) return pino({ level, base: null }, pino.destination(2))
  const stream = pretty({ destination: 2, sync: true, ignore: 'pid,hostname', colorize: true })
  return pino({ level, base: null }, stream)
}
