/**
 * The wheels that set-up takes from the Python package index: each pinned to one file and its sha256.
 *
 * A wheel is a zip file. TensorFlow's holds the compiled library with its whole C interface and every header, which is
 * all that the tfjs binding needs. The file is chosen by its own tags (CPython 3.11), whatever Python the user
 * has: nothing of Python in it is ever run, so one pinned file per platform serves everybody.
 */

/** The TensorFlow that all wheels are of. */
export const TENSORFLOW_VERSION = '2.21.0';

/** TensorFlow's builds. */
export type Variant = 'cpu' | 'cuda';

/** 'TensorFlow 2.21.0 for CPU'. */
export const titleOf = (variant: Variant): string => `TensorFlow ${TENSORFLOW_VERSION} for ${variant.toUpperCase()}`;

/** One pinned file on the package index. */
export interface Wheel {
  /** Its name on the index. */
  readonly project: string;
  /** The pinned one. */
  readonly version: string;
  /** The wheel's file name, which tells its platform. */
  readonly file: string;
  /** Of the file, in hexadecimal. */
  readonly sha256: string;
  /** Size of the file to download, in bytes. */
  readonly bytes: number;
  /** Size of what is extracted from it, in bytes. */
  readonly unpacked: number;
}

/** A wheel with one of NVIDIA's user libraries: `nvidia/<folder>/lib/` inside it has the file `soname`. */
export interface CudaWheel extends Wheel {
  /** The library's folder below nvidia/. */
  readonly folder: string;
  /** The library's file name. */
  readonly soname: string;
  /** Libraries of one group come all from the system or all from wheels; see missingCuda. */
  readonly group: 'toolkit' | 'cudnn' | 'nccl';
}

/** A wheel that is wanted for its headers alone. */
export interface HeaderWheel extends Wheel {
  /** The folder inside it that a compiler is to search. */
  readonly include: string;
  /** The folder with the headers: that one, or the part of it that is needed. */
  readonly headers: string;
}

/** What set-up may download for one machine. */
export interface Pins {
  /** TensorFlow itself. */
  readonly tensorflow: Wheel;
  /** NVIDIA's libraries, for machines that lack them. */
  readonly cuda: readonly CudaWheel[];
  /** Always from wheels, whatever libraries the system has: a driver and its libraries come without headers. */
  readonly headers: readonly HeaderWheel[];
}

/** Which wheels a machine takes, or undefined where TensorFlow 2.21.0 is published for no such platform. */
export function pinsFor(variant: Variant, platform: string): Pins | undefined {
  const tensorflow = TENSORFLOW[`${variant} ${platform}`];
  if (!tensorflow) return undefined;
  return variant === 'cuda' ? { tensorflow, cuda: CUDA, headers: HEADERS } : { tensorflow, cuda: [], headers: [] };
}

// On ARM and on macOS the wheel called `tensorflow` is itself a build without CUDA; on x64 that one is
// `tensorflow-cpu`, at half the size. Google publishes no wheel for Macs with Intel processors any more.
const TENSORFLOW: Readonly<Record<string, Wheel>> = {
  'cpu linux-x64': {
    project: 'tensorflow-cpu',
    version: TENSORFLOW_VERSION,
    file: 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl',
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
    bytes: 273_829_956,
    unpacked: 1_121_270_429,
  },
  'cuda linux-x64': {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    file: 'tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl',
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
    bytes: 572_440_367,
    unpacked: 1_658_338_816,
  },
  'cpu linux-arm64': {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    file: 'tensorflow-2.21.0-cp311-cp311-manylinux_2_27_aarch64.whl',
    sha256: '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c',
    bytes: 281_828_020,
    unpacked: 1_166_233_638,
  },
  'cpu darwin-arm64': {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    file: 'tensorflow-2.21.0-cp311-cp311-macosx_12_0_arm64.whl',
    sha256: '51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88',
    bytes: 223_405_849,
    unpacked: 1_000_184_591,
  },
};

const CUDA_RUNTIME = {
  project: 'nvidia-cuda-runtime-cu12',
  version: '12.9.79',
  file: 'nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
  sha256: '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3',
  bytes: 3_493_179,
};

// What `tensorflow[and-cuda]` 2.21.0 asks for, at the versions that pip chooses for it (CUDA 12.9; its compiler `nvcc`
// is left out, since only XLA uses it). Ordered so that each comes after those it depends on.
const CUDA: readonly CudaWheel[] = [
  {
    ...CUDA_RUNTIME,
    unpacked: 5_342_176,
    folder: 'cuda_runtime',
    soname: 'libcudart.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-nvjitlink-cu12',
    version: '12.9.86',
    file: 'nvidia_nvjitlink_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl',
    sha256: 'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9',
    bytes: 39_748_338,
    unpacked: 95_935_344,
    folder: 'nvjitlink',
    soname: 'libnvJitLink.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cuda-nvrtc-cu12',
    version: '12.9.86',
    file: 'nvidia_cuda_nvrtc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl',
    sha256: '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4',
    bytes: 89_568_129,
    unpacked: 227_340_992,
    folder: 'cuda_nvrtc',
    soname: 'libnvrtc.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cuda-cupti-cu12',
    version: '12.9.79',
    file: 'nvidia_cuda_cupti_cu12-12.9.79-py3-none-manylinux_2_25_x86_64.whl',
    sha256: '096bcf334f13e1984ba36685ad4c1d6347db214de03dbb6eebb237b41d9d934f',
    bytes: 10_814_997,
    unpacked: 43_365_768,
    folder: 'cuda_cupti',
    soname: 'libcupti.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cublas-cu12',
    version: '12.9.3.13',
    file: 'nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl',
    sha256: 'd7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72',
    bytes: 581_217_458,
    unpacked: 855_064_416,
    folder: 'cublas',
    soname: 'libcublas.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cufft-cu12',
    version: '11.4.1.4',
    file: 'nvidia_cufft_cu12-11.4.1.4-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
    sha256: 'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28',
    bytes: 200_877_592,
    unpacked: 293_609_416,
    folder: 'cufft',
    soname: 'libcufft.so.11',
    group: 'toolkit',
  },
  {
    project: 'nvidia-curand-cu12',
    version: '10.3.10.19',
    file: 'nvidia_curand_cu12-10.3.10.19-py3-none-manylinux_2_27_x86_64.whl',
    sha256: '49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e',
    bytes: 68_295_626,
    unpacked: 166_965_432,
    folder: 'curand',
    soname: 'libcurand.so.10',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cusparse-cu12',
    version: '12.5.10.65',
    file: 'nvidia_cusparse_cu12-12.5.10.65-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
    sha256: '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78',
    bytes: 366_465_088,
    unpacked: 486_556_368,
    folder: 'cusparse',
    soname: 'libcusparse.so.12',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cusolver-cu12',
    version: '11.7.5.82',
    file: 'nvidia_cusolver_cu12-11.7.5.82-py3-none-manylinux_2_27_x86_64.whl',
    sha256: '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88',
    bytes: 338_117_415,
    unpacked: 494_975_064,
    folder: 'cusolver',
    soname: 'libcusolver.so.11',
    group: 'toolkit',
  },
  {
    project: 'nvidia-cudnn-cu12',
    version: '9.28.0.42',
    file: 'nvidia_cudnn_cu12-9.28.0.42-py3-none-manylinux_2_27_x86_64.whl',
    sha256: '9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375',
    bytes: 716_538_495,
    unpacked: 1_162_393_472,
    folder: 'cudnn',
    soname: 'libcudnn.so.9',
    group: 'cudnn',
  },
  {
    project: 'nvidia-nccl-cu12',
    version: '2.32.3',
    file: 'nvidia_nccl_cu12-2.32.3-py3-none-manylinux_2_27_x86_64.whl',
    sha256: 'bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c',
    bytes: 351_526_311,
    unpacked: 489_653_380,
    folder: 'nccl',
    soname: 'libnccl.so.2',
    group: 'nccl',
  },
];

// What native/cuda is compiled against, 27 MB to download and 8 MB on disk. cuDNN's own interface is C; `frontend` is
// the C++ over it, headers alone, at its last version that needs no run-time compiler's header. The headers of cuDNN
// come from its smallest wheel: the functions are looked up in the library when they run, and any cuDNN 9 has them.
// CUDA's runtime leaves out two folders that its headers include: `crt` (words such as __host__) and `nv`.
const HEADERS: readonly HeaderWheel[] = [
  {
    project: 'nvidia-cudnn-frontend',
    version: '1.18.0',
    file: 'nvidia_cudnn_frontend-1.18.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl',
    sha256: '382ea063b92cbfd5b442cb75ff8422932d78276aecf139e46713ed1ad3d07af4',
    bytes: 2_155_568,
    unpacked: 2_466_255,
    include: 'include',
    headers: 'include',
  },
  {
    project: 'nvidia-cudnn-jit-cu12',
    version: '9.14.0.64',
    file: 'nvidia_cudnn_jit_cu12-9.14.0.64-py3-none-manylinux_2_27_x86_64.whl',
    sha256: '7043ab6b6b053257bd2bfa1092b4be8e8f6a65cb710a370c5f731236f2b4a0f5',
    bytes: 17_688_794,
    unpacked: 371_046,
    include: 'nvidia/cudnn_jit/include',
    headers: 'nvidia/cudnn_jit/include',
  },
  {
    ...CUDA_RUNTIME,
    unpacked: 4_205_183,
    include: 'nvidia/cuda_runtime/include',
    headers: 'nvidia/cuda_runtime/include',
  },
  {
    project: 'nvidia-cuda-crt',
    version: '13.0.48',
    file: 'nvidia_cuda_crt-13.0.48-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
    sha256: '944b6070c50dc4fbb7c012b1a4c28b444c9c5ac071ac17d84dc9726d9cbc6bea',
    bytes: 134_086,
    unpacked: 874_259,
    include: 'nvidia/cu13/include',
    headers: 'nvidia/cu13/include/crt',
  },
  {
    project: 'nvidia-cuda-cccl-cu12',
    version: '12.9.27',
    file: 'nvidia_cuda_cccl_cu12-12.9.27-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
    sha256: '37869e17ce2e1ecec6eddf1927cca0f8c34e64fd848d40453df559091e2d7117',
    bytes: 3_152_243,
    unpacked: 37_759,
    include: 'nvidia/cuda_cccl/include',
    headers: 'nvidia/cuda_cccl/include/nv',
  },
];

/**
 * The wheels whose libraries the system lacks; `found` tells whether its loader finds a library.
 *
 * The parts of the CUDA toolkit call one another and must be of one release: cuSPARSE 12.5 with an older nvJitLink
 * stops at a missing symbol. So the system's toolkit is used only if all of it is there. cuDNN and NCCL stand alone.
 */
export function missingCuda(wheels: readonly CudaWheel[], found: (soname: string) => boolean): CudaWheel[] {
  const broken = new Set(wheels.filter((wheel) => !found(wheel.soname)).map((wheel) => wheel.group));
  return wheels.filter((wheel) => broken.has(wheel.group));
}
