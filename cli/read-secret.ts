// Reads a password: from a terminal without showing it, else from standard input.
import type { ReadStream } from 'node:tty'
import { CommandFailure } from './load-config.ts'

const secretBytesMax = 64 * 1024
const keys = {
  interrupt: '\u0003',
  end: '\u0004',
  backspace: '\b',
  erase: '\u007f',
  clear: '\u0015',
}

/**
 * The password, asked for twice on a terminal; prompts go to stderr. @throws CommandFailure when there is none,
 * when there are several lines, and when the two differ
 */
export async function readSecret(
  input: ReadStream,
  prompts: readonly [string, string],
): Promise<string> {
  if (!input.isTTY) return onlyLine(await readAll(input))
  const first = await ask(input, prompts[0])
  if (first === '') throw new CommandFailure('an empty password is refused by PostgreSQL')
  const second = await ask(input, prompts[1])
  if (first !== second) throw new CommandFailure('the two passwords differ')
  return first
}

function onlyLine(text: string): string {
  const [line = '', ...more] = text.replace(/\r?\n$/, '').split('\n')
  if (more.length > 0) throw new CommandFailure('expected one password on one line, found more')
  if (line === '') throw new CommandFailure('an empty password is refused by PostgreSQL')
  return line
}

async function readAll(input: ReadStream): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of input) {
    const part = Buffer.from(chunk)
    chunks.push(part)
    bytes += part.length
    if (bytes > secretBytesMax) throw new CommandFailure('a password has at most 64 kB')
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** One line, typed blind. The terminal is as it was afterwards, whatever happens. */
function ask(input: ReadStream, prompt: string): Promise<string> {
  input.setRawMode(true)
  input.setEncoding('utf8')
  process.stderr.write(prompt)
  let typed: string[] = []
  return new Promise<string>((resolve, reject) => {
    const settle = (finish: () => void) => {
      input.off('data', heard)
      input.off('end', ended)
      input.setRawMode(false)
      input.pause()
      process.stderr.write('\n')
      finish()
    }
    const ended = () => settle(() => reject(new CommandFailure('no password was given')))
    const heard = (text: string) => {
      const chars = Array.from(text)
      for (const [at, char] of chars.entries()) {
        if (char === '\r' || char === '\n') {
          const rest = chars.slice(at + 1).join('')
          settle(() => resolve(typed.join('')))
          // What was typed ahead belongs to the next question.
          if (rest !== '') input.unshift(rest)
          return
        }
        if (char === keys.interrupt || char === keys.end) return ended()
        if (char === keys.clear) typed = []
        else if (char === keys.backspace || char === keys.erase) typed.pop()
        else if (char >= ' ') typed.push(char)
      }
    }
    input.on('data', heard).on('end', ended).resume()
  })
}
