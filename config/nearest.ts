// "Did you mean …": the word that takes the fewest typing mistakes to become what was written.

/** The word nearest to `written`, or null when none is near enough to be meant. */
export function nearest(written: string, words: readonly string[]): string | null {
  const most = Math.max(1, Math.floor(written.length / 3))
  const ranked = words
    .map((word) => ({ word, distance: typos(plain(written), plain(word)) }))
    .filter(({ distance }) => distance <= most)
    .sort((a, b) => a.distance - b.distance)
  return ranked[0]?.word ?? null
}

/** `maxClientConn` and `max-client-conn` are meant as `max_client_conn`. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_ ]/g, '')
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function typos(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= from.length; row += 1) {
    const line = [row]
    for (let column = 1; column <= to.length; column += 1) {
      const at = (up: number, left: number) => rows[row - up]?.[column - left] ?? Infinity
      const same = from[row - 1] === to[column - 1]
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      line.push(
        Math.min(
          at(1, 0) + 1,
          (line[column - 1] ?? Infinity) + 1,
          at(1, 1) + (same ? 0 : 1),
          swapped ? at(2, 2) + 1 : Infinity,
        ),
      )
    }
    rows.push(line)
  }
  return rows[from.length]?.[to.length] ?? Infinity
}
