// Beginnings of one buffer. Making a view of a few bytes costs more than reading them; messages are of few lengths.

const cachedBytesMax = 255

/** Views of the first bytes of a buffer that is used again and again, each made once. */
export class Views {
  readonly buffer: Buffer
  readonly #views = Array.from({ length: cachedBytesMax + 1 }, (): Buffer | null => null)

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  /** The first `count` bytes. */
  first(count: number): Buffer {
    if (count > cachedBytesMax) return this.buffer.subarray(0, count)
    const known = this.#views[count] ?? null
    if (known !== null) return known
    const made = this.buffer.subarray(0, count)
    this.#views[count] = made
    return made
  }
}
