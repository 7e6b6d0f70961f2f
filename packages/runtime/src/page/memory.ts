/**
 * How much memory a web page's tensors have: a WebAssembly module counts its bytes with 32 bits, so 4 GiB, whatever the
 * machine has. Browsers don't tell a page how much that is.
 */

/** Bytes of memory that a page's tensors may use. */
export const machineMemory = (): number => 2 ** 32;
