// Patterns of KEYS and SCAN.

/** `*` and `?`, and `\` before any character: in time proportional to both lengths' product at most. */
export function matchesGlob(glob: string, text: string): boolean {
  const tokens = [...glob.matchAll(/\\(.)|(.)/gs)]
  let reachable = new Set([0])
  for (const [, escaped, one] of tokens) {
    const next = new Set<number>()
    for (const at of reachable) {
      if (one === '*') for (let to = at; to <= text.length && !next.has(to); to += 1) next.add(to)
      else if (at < text.length && (one === '?' || (escaped ?? one) === text[at])) next.add(at + 1)
    }
    reachable = next
  }
  return reachable.has(text.length)
}
