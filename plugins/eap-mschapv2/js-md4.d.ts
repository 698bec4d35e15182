/** The part of js-md4 that is used; it comes without types. Only `create` is its own code everywhere. */
declare module 'js-md4' {
  interface Md4 {
    update(octets: Uint8Array): Md4
    array(): number[]
  }
  const md4: { create(): Md4 }
  export default md4
}
