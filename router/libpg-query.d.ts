// The WASM build of PostgreSQL's grammar, below the package's own wrapper: several instances can be
// made of it, so that one whose stack overflowed is thrown away. Only router/parser.ts uses it.
declare module 'libpg-query/wasm/libpg-query.js' {
  /** One instance: memory and functions of its own. Pointers are byte addresses. */
  export type Instance = {
    _malloc(bytes: number): number
    _free(pointer: number): void
    _wasm_parse_query_raw(sql: number): number
    _wasm_free_parse_result(result: number): void
    lengthBytesUTF8(text: string): number
    stringToUTF8(text: string, pointer: number, bytesMax: number): void
    getValue(pointer: number, type: 'i32'): number
    UTF8ToString(pointer: number): string
  }
  const createInstance: () => Promise<Instance>
  export default createInstance
}
