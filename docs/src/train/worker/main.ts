/** The worker in which a page trains. Where the site keeps tfjs's .wasm files, the bundler knows. */

import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import type { Order } from '../messages.ts';
import { serve } from '../serve.ts';

const take = serve((reply) => postMessage(reply), {
  'tfjs-backend-wasm.wasm': plain,
  'tfjs-backend-wasm-simd.wasm': simd,
  'tfjs-backend-wasm-threaded-simd.wasm': threaded,
});
addEventListener('message', ({ data }: MessageEvent<Order>) => take(data));
