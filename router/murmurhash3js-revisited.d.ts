// The part of murmurhash3js-revisited that the ring uses; the package carries no types.
declare module 'murmurhash3js-revisited' {
  const murmur: {
    readonly x64: {
      /** MurmurHash3 x64-128 of the bytes: 32 hexadecimal digits. */
      readonly hash128: (bytes: Uint8Array, seed?: number) => string
    }
  }
  export = murmur
}
