/**
 * Model FLOP/s utilization: the share of a device's peak that training's own arithmetic used.
 *
 *     MFU = tokens/s x (6 N + 12 L D T) / peak
 *
 * Each of N parameters costs a token a multiplication and an addition forward and twice that backward, 6 in all.
 * Attention adds for each of L layers of width D, at T tokens of context, 2 x 2 D T forward and twice that backward:
 * 12 D T. So counts PaLM (arXiv 2204.02311, appendix B); what a causal mask saves is not deducted, and recomputation
 * doesn't count.
 */

/** What the formula for a token's arithmetic asks of a model. */
export interface ModelSize {
  /** N, all parameters; a tied embedding once. */
  readonly parameters: number;
  /** L, how many blocks. */
  readonly layers: number;
  /** D, width of the model. */
  readonly dim: number;
  /** T, tokens in a sequence. */
  readonly seqLength: number;
}

/** Floating-point operations of forward and backward for one token. */
export const flopsPerToken = ({ parameters, layers, dim, seqLength }: ModelSize): number =>
  6 * parameters + 12 * layers * dim * seqLength;

/** From 0 to 1, of one device's tokens and its peak in FLOP/s; undefined where the peak isn't known. */
export const mfuOf = (tokensPerSecond: number, size: ModelSize, peak: number | undefined): number | undefined =>
  peak === undefined ? undefined : (tokensPerSecond * flopsPerToken(size)) / peak;

interface Peak {
  /** Matches the name that the driver gives the device. */
  readonly name: RegExp;
  /** FLOP/s of dense bfloat16 products with float32 sums; undefined where the device has none. */
  readonly bfloat16?: number;
  /** FLOP/s of float32 outside tensor cores, since products in tf32 are not float32. */
  readonly float32: number;
  /** Bytes a second to and from the device's memory. */
  readonly bandwidth: number;
}

/** NVIDIA's data sheets, without sparsity, at boost clock; first match counts. Sources stand beside the figures. */
// biome-ignore format: a table
const peaks: readonly Peak[] = [
  { name: /H200 NVL/, bfloat16: 835.5e12, float32: 60e12, bandwidth: 4.8e12 }, // H200 data sheet: 1,671 with sparsity
  { name: /H200/, bfloat16: 989.5e12, float32: 67e12, bandwidth: 4.8e12 }, // H200 data sheet: 1,979 with sparsity
  { name: /H100 PCIe/, bfloat16: 756.5e12, float32: 51e12, bandwidth: 2e12 }, // H100 data sheet: 1,513 with sparsity
  { name: /H100 80GB HBM3/, bfloat16: 989.5e12, float32: 67e12, bandwidth: 3.35e12 }, // H100 SXM: 1,979 with sparsity
  { name: /A100 80GB PCIe/, bfloat16: 312e12, float32: 19.5e12, bandwidth: 1.935e12 }, // A100 data sheet
  { name: /A100-SXM4-80GB/, bfloat16: 312e12, float32: 19.5e12, bandwidth: 2.039e12 }, // A100 data sheet
  { name: /A100/, bfloat16: 312e12, float32: 19.5e12, bandwidth: 1.555e12 }, // A100 data sheet, of 40 GB
  { name: /L40S/, bfloat16: 362.05e12, float32: 91.6e12, bandwidth: 0.864e12 }, // L40S data sheet
  { name: /\bL4\b/, bfloat16: 121e12, float32: 30.3e12, bandwidth: 0.3e12 }, // L4 data sheet: 242 with sparsity
  // Ada and GA102 architecture papers, appendix A
  { name: /RTX 4090(?! (D|Laptop))/, bfloat16: 165.2e12, float32: 82.6e12, bandwidth: 1.008e12 },
  { name: /RTX 3090(?! Ti)/, bfloat16: 71e12, float32: 35.6e12, bandwidth: 0.936e12 },
  { name: /V100-SXM2/, float32: 15.7e12, bandwidth: 0.9e12 }, // V100 data sheet
  { name: /\bT4\b/, float32: 8.1e12, bandwidth: 0.32e12 }, // T4 data sheet
];

/** A device's peak in FLOP/s, or undefined where we have no figure from its maker. */
export const peakFlops = (device: string, precision: 'float32' | 'bfloat16'): number | undefined =>
  peaks.find(({ name }) => name.test(device))?.[precision];

/** Bytes a second to and from a device's memory, likewise. */
export const peakBandwidth = (device: string): number | undefined =>
  peaks.find(({ name }) => name.test(device))?.bandwidth;
