// Aligned columns for people; programs ask for --json.
import Table from 'cli-table3'

/** Rows under their heads, without lines; ends with a line feed. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', left: '', 'left-mid': '' }
  const lineless = { ...none, bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' }
  const table = new Table({
    head: [...head],
    chars: { ...lineless, mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  })
  for (const row of rows) table.push([...row])
  return `${table.toString().replaceAll(/ +$/gm, '')}\n`
}
