// Unread bytes of a stream. They stay in the caller's chunk as long as they can; what is incomplete
// moves into storage of our own, which grows only with bytes that have really come.

const storageBytesMin = 512
/** Storage above this is given back as soon as it is empty: an idle client costs little. */
const keptBytesMax = 4096
const nothing = new Uint8Array(0)

/** Bytes from `start` to `end` of `bytes` are unread; whoever reads them moves `start`. */
export class Inbox {
  bytes: Uint8Array = nothing
  start = 0
  end = 0
  #storage: Uint8Array = nothing

  get length(): number {
    return this.end - this.start
  }

  /** Appends a chunk. It is read in place until own() or the next push(). */
  push(chunk: Uint8Array): void {
    if (this.start === this.end) {
      this.bytes = chunk
      this.start = 0
      this.end = chunk.length
      return
    }
    this.own()
    this.#reserve(chunk.length)
    this.#storage.set(chunk, this.end)
    this.end += chunk.length
  }

  /** Copies what is unread out of the caller's chunk, which may be overwritten from then on. */
  own(): void {
    if (this.start === this.end) return this.#clear()
    if (this.bytes === this.#storage) return
    const unread = this.bytes.subarray(this.start, this.end)
    if (unread.length > this.#storage.length) {
      this.#storage = new Uint8Array(Math.max(unread.length, storageBytesMin))
    }
    this.#storage.set(unread)
    this.#moved(unread.length)
  }

  #clear(): void {
    this.bytes = nothing
    this.start = 0
    this.end = 0
    if (this.#storage.length > keptBytesMax) this.#storage = nothing
  }

  /** Makes room for `count` bytes behind the unread ones, which are in storage. */
  #reserve(count: number): void {
    if (this.end + count <= this.#storage.length) return
    const unread = this.#storage.subarray(this.start, this.end)
    const needed = unread.length + count
    if (needed > this.#storage.length) {
      this.#storage = new Uint8Array(Math.max(needed, this.#storage.length * 2))
    }
    this.#storage.set(unread)
    this.#moved(unread.length)
  }

  #moved(unreadBytes: number): void {
    this.bytes = this.#storage
    this.start = 0
    this.end = unreadBytes
  }
}
