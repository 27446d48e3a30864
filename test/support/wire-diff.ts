// Shows where two conversations part: common lines around, `-` expected of PostgreSQL, `+` got.
import type { Entry } from './wire-transcript.ts'

const contextLines = 12
const shownLinesMax = 60

/** Empty when both conversations are the same. */
export function diffConversations(expected: readonly Entry[], got: readonly Entry[]): string {
  const left = expected.map(lineOf)
  const right = got.map(lineOf)
  let head = 0
  while (head < left.length && head < right.length && left[head] === right[head]) head += 1
  if (head === left.length && head === right.length) return ''
  let tail = 0
  while (tail < Math.min(left.length, right.length) - head) {
    if (left.at(-1 - tail) !== right.at(-1 - tail)) break
    tail += 1
  }
  const before = left.slice(Math.max(0, head - contextLines), head)
  const after = left.slice(left.length - tail).slice(0, contextLines)
  return [
    ...before.map((line) => `  ${line}`),
    ...shorten(left.slice(head, left.length - tail)).map((line) => `- ${line}`),
    ...shorten(right.slice(head, right.length - tail)).map((line) => `+ ${line}`),
    ...after.map((line) => `  ${line}`),
  ].join('\n')
}

/** One conversation, for messages about a script that PostgreSQL itself did not answer. */
export function showConversation(entries: readonly Entry[]): string {
  return shorten(entries.map(lineOf)).join('\n')
}

const arrows = { client: '>>', server: '<<', note: '--' } as const

function lineOf(entry: Entry): string {
  const digest = entry.digest === '' ? '' : `  #${entry.digest.slice(0, 10)}`
  return `${arrows[entry.from]} ${entry.text}${digest}`
}

function shorten(lines: readonly string[]): string[] {
  if (lines.length <= shownLinesMax) return [...lines]
  const left = lines.length - shownLinesMax
  return [...lines.slice(0, shownLinesMax), `… and ${left} more lines`]
}
